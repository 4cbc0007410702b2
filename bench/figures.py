"""Figures besides throughput: start-up, the first token, and memory."""

import os
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

from bench.client import TOKEN, ask, pour
from bench.processes import PROXY, Memory, Pod, children, sidecar


class StartUp(NamedTuple):
    """Medians: seconds of the bare interpreter, start to end, and of the sidecar, start to ready; and their ratio.

    `work` is the ratio of the seconds on a CPU alone, which other processes of the machine hardly change.
    """

    interpreter: float
    ready: float
    ratio: float
    work: float


class FirstToken(NamedTuple):
    """Seconds that the first token took: asked for when ready, and a second later; and the requests for all of them."""

    at_once: float
    later: float
    round_trips: tuple[str, ...]


class Growth(NamedTuple):
    """Memory of one sidecar through its life so far, in MB, and of its exchange process after the first token."""

    idle: Memory
    first_token: Memory
    exchange: Memory
    loaded: Memory
    requests: int


def start_up(pod: Pod, pairs: int) -> StartUp:
    """Start both in turn, so that what else the machine does weighs on both."""
    bare, ready = [], []
    for _ in range(pairs):
        bare.append(_interpreter())
        with sidecar(PROXY, pod.environment) as server:
            ready.append((server.ready_after, server.worked))
    interpreter, interpreter_work = map(statistics.median, zip(*bare, strict=True))
    sidecars, work = map(statistics.median, zip(*ready, strict=True))
    return StartUp(interpreter, sidecars, sidecars / interpreter, work / interpreter_work)


def _interpreter() -> tuple[float, float]:
    """Return how many seconds `python -c pass` takes, and how many of them on a CPU."""
    begun = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], os.environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"bench: {sys.executable} does not start")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime


def first_token(pod: Pod, times: int) -> FirstToken:
    """Time the first token of new sidecars, and note what they asked the authority."""
    before = len(pod.round_trips())
    at_once = statistics.median(_first(pod, 0) for _ in range(times))
    later = statistics.median(_first(pod, 1) for _ in range(times))
    return FirstToken(at_once, later, tuple(pod.round_trips()[before:]))


def _first(pod: Pod, pause: float) -> float:
    with sidecar(PROXY, pod.environment) as server:
        time.sleep(pause)
        begun = time.perf_counter()
        answer = ask(server.port)
        took = time.perf_counter() - begun
    if answer.status != 200:
        raise SystemExit(f"bench: no token: {answer.body.decode()}")
    return took


def growth(pod: Pod, requests: int, command: Sequence[str] = PROXY) -> Growth:
    """Follow one sidecar's memory: idle for a second, after its first token, after so many warm requests."""
    with sidecar(command, pod.environment) as server:
        time.sleep(1)
        idle = Memory.of(server.pid)
        ask(server.port)
        first = Memory.of(server.pid)
        (child,) = children(server.pid)
        exchange = Memory.of(child)
        pour(server.port, repeat(TOKEN, requests))
        return Growth(idle, first, exchange, Memory.of(server.pid), requests)
