"""Figures besides throughput: start-up, the first token, and memory."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

from bench.client import TOKEN, ask, pour
from bench.processes import PROXY, Memory, Pod, sidecar


class StartUp(NamedTuple):
    """Medians: seconds of the bare interpreter, start to end, and of the sidecar, start to ready; and their ratio."""

    interpreter: float
    ready: float
    ratio: float


class FirstToken(NamedTuple):
    """Seconds that the first token took: asked for when ready, and a second later; and the requests for all of them."""

    at_once: float
    later: float
    round_trips: tuple[str, ...]


class Growth(NamedTuple):
    """Memory of one sidecar through its life so far, in MB."""

    idle: Memory
    first_token: Memory
    loaded: Memory
    requests: int


def interpreter_seconds() -> float:
    """Return how long `python -c pass` takes."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def start_up(pod: Pod, pairs: int) -> StartUp:
    """Start both in turn, so that what else the machine does weighs on both."""
    bare, ready = [], []
    for _ in range(pairs):
        bare.append(interpreter_seconds())
        with sidecar(PROXY, pod.environment) as server:
            ready.append(server.ready_after)
    interpreter, sidecars = statistics.median(bare), statistics.median(ready)
    return StartUp(interpreter, sidecars, sidecars / interpreter)


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
        pour(server.port, repeat(TOKEN, requests))
        return Growth(idle, first, Memory.of(server.pid), requests)


def quietest(measure: Callable[[], StartUp], enough: float, tries: int) -> Iterator[StartUp]:
    """Measure until a ratio is `enough` or below, `tries` times at most: noise only ever adds to a start-up."""
    for _ in range(tries):
        found = measure()
        yield found
        if found.ratio <= enough:
            return
