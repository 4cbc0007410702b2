"""The attacks on the sidecar, all from loopback: by any process that shares the pod's network."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.siege.attacker import LONGEST, AttackRun, Client
from tests.siege.case import CUT, WORKLOAD, Case
from tests.siege.scripts import (
    asking,
    crowd,
    half_closing,
    hasty,
    never_reading,
    reading_slowly,
    resetting,
    sending,
    trickling,
)
from tests.support.fakes import token_target

if TYPE_CHECKING:
    from tests.siege.targets import SidecarTarget
    from tests.unit.wisp.proxy.authority import Post

_HEADERS = b" HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n"
_INCOMPLETE = b"GET " + token_target().encode() + _HEADERS
_TOKEN = _INCOMPLETE + b"\r\n"
_POST = b"POST /metadata/scheduledevents?api-version=2020-07-01" + _HEADERS
_INSTANCE = b"GET /metadata/instance?api-version=2021-02-01" + _HEADERS + b"\r\n"
_LARGE_ANSWER = 512 * 1024
"""Bytes that the node's metadata service answers while an attack is about its answers."""


def _held(size: int) -> bytes:
    """Return a request with a body of `size` bytes, without its last one."""
    return _POST + b"Content-Length: %d\r\n\r\n" % size + b" " * (size - 1)


def _ask(resource: str) -> bytes:
    return b"GET " + token_target(resource).encode() + _HEADERS + b"\r\n"


async def _distinct_resources(run: AttackRun) -> None:
    """Ask for tokens of ever new resources."""
    numbers = itertools.count()

    async def script(client: Client) -> None:
        await client.open()
        for _ in range(50):
            await client.send(_ask(f"https://resource-{next(numbers)}.example/"))
            await client.answer()

    await run.crowd(64, script)


async def _distinct_resources_held(run: AttackRun) -> None:
    """Ask for a new resource on each of 1,024 connections, and wait."""

    async def script(client: Client) -> None:
        await sending(_ask(f"https://hanging-{client.number}.example/"))(client)

    await run.crowd(1024, script)


async def _waiting_to_go_on(client: Client) -> None:
    await client.open()
    await client.send(_POST + b"Content-Length: 60000\r\nExpect: 100-continue\r\n\r\n")
    await client.hold()
    await client.hold()


@contextmanager
def _silent_authority(target: "SidecarTarget") -> Iterator[None]:
    """Let the authority accept requests and answer none until the attack is over."""
    authority, over = target.authority, threading.Event()
    grants = authority.behaviour

    def hang(post: "Post") -> bytes | None:
        over.wait(LONGEST)
        return grants(post)

    authority.behaviour = hang
    try:
        yield
    finally:
        authority.behaviour = grants
        over.set()


@contextmanager
def _large_answers(target: "SidecarTarget") -> Iterator[None]:
    """Let the node's metadata service answer with megabytes."""
    node = target.node
    before = node.answer
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % _LARGE_ANSWER
    node.answer = lambda _: iter([head, *([b" " * 65536] * (_LARGE_ANSWER // 65536))])
    try:
        yield
    finally:
        node.answer = before


_AUTHORITY_SILENT = CUT | {"200", "502", "504"}
"""What a client may be answered that asks for a token which the authority does not give."""

_EVICTED = "The incomplete request that has waited longest makes room when all 1,024 places are taken."

CASES: dict[str, Case] = {
    "incomplete-requests": Case(
        WORKLOAD,
        "1,200 incomplete requests, which come again when they are closed",
        _EVICTED,
        crowd(1200, sending(_INCOMPLETE)),
    ),
    "idle-connections": Case(
        WORKLOAD,
        "1,200 connections that send nothing",
        "The connection that has been idle longest makes room.",
        crowd(1200, sending(b"")),
    ),
    "slow-readers": Case(
        WORKLOAD,
        "1,100 connections that ask for tokens, read nothing, and come again when they are closed",
        "The slowest reader makes room when all places are taken.",
        crowd(1100, never_reading(_TOKEN, 500)),
    ),
    "slow-readers-of-large-answers": Case(
        WORKLOAD,
        "40 connections that read nothing of an answer of 512 KiB of the node's metadata service",
        "No more of it is read than the reader takes; 32 such requests at a time.",
        crowd(40, never_reading(_INSTANCE, 1)),
        around=_large_answers,
    ),
    "bodies-held": Case(
        WORKLOAD,
        "1,200 bodies of 64 KiB that lack their last byte",
        "The bytes of incomplete requests are bounded together.",
        crowd(1200, sending(_held(64 * 1024))),
        tolerated=CUT | {"413"},
    ),
    "connections-with-80-kb": Case(
        WORKLOAD,
        "1,024 connections with 80 kB each: a head of 16 kB and a body of 64 KiB without its last byte",
        "The bytes of incomplete requests are bounded together.",
        crowd(
            1024, sending(_POST + b"X-Field: " + b"x" * 15_500 + b"\r\nContent-Length: 65536\r\n\r\n" + b" " * 65_535)
        ),
        tolerated=CUT | {"413"},
    ),
    "pipelines-behind-a-hanging-authority": Case(
        WORKLOAD,
        "1,024 connections with a request that the authority leaves unanswered, and 80 kB of requests behind it",
        "What follows an unanswered request is not read; the bytes held are bounded together.",
        crowd(1024, sending(_ask("https://hanging.example/") + _TOKEN * 500)),
        tolerated=_AUTHORITY_SILENT,
        around=_silent_authority,
    ),
    "exchanges-held": Case(
        WORKLOAD,
        "1,024 connections ask for as many resources while the authority answers nothing",
        "Exchanges at a time are bounded; the rest are asked to try again.",
        _distinct_resources_held,
        tolerated=_AUTHORITY_SILENT,
        around=_silent_authority,
    ),
    "distinct-resources": Case(
        WORKLOAD,
        "Tokens of ever new resources",
        "The token cache is bounded; the token used longest ago goes first.",
        _distinct_resources,
        frozenset({"200"}),
        tolerated=_AUTHORITY_SILENT,
    ),
    "pipelined-flood": Case(
        WORKLOAD,
        "100 connections with 5,000 pipelined requests each, and none reads an answer",
        "A connection with 64 KiB of answers not taken is not read.",
        crowd(100, never_reading(_TOKEN, 5000)),
    ),
    "waiting-to-go-on": Case(
        WORKLOAD,
        "1,200 requests that wait for `100 Continue` and then send nothing",
        _EVICTED,
        crowd(1200, _waiting_to_go_on),
        tolerated=CUT | {"100"},
    ),
    "trickled-bytes": Case(
        WORKLOAD,
        "1,100 requests that come byte by byte",
        "A request has 5 seconds to arrive, however busy its connection is.",
        crowd(1100, trickling(_TOKEN[:-1])),
    ),
    "huge-headers": Case(
        WORKLOAD,
        "1,000 requests with a megabyte of header fields",
        "A head over 16 KiB is rejected: 431.",
        crowd(1000, sending(_INCOMPLETE + b"X-Field: 0123456789\r\n" * 50_000)),
        tolerated=CUT | {"431"},
    ),
    "heads-held": Case(
        WORKLOAD,
        "1,200 heads of 16 kB without their end",
        _EVICTED,
        crowd(1200, sending(_INCOMPLETE + b"X-Field: " + b"x" * 15_800)),
    ),
    "long-targets": Case(
        WORKLOAD,
        "64 connections with targets of 8 kB that all differ",
        "What is remembered of requests is bounded in number and in bytes.",
        crowd(64, asking(*(b"GET /%d" % each + b"x" * 8000 + _HEADERS + b"\r\n" for each in range(50)))),
        frozenset({"404"}),
    ),
    "half-closed": Case(
        WORKLOAD,
        "1,200 connections that close their half after an incomplete request",
        "A connection whose request cannot be completed any more is closed.",
        crowd(1200, half_closing(_INCOMPLETE)),
    ),
    "half-closed-behind-a-hanging-authority": Case(
        WORKLOAD,
        "1,100 connections that close their half after a request that the authority leaves unanswered",
        "The answer goes to who waits; those who wait are bounded together.",
        crowd(1100, half_closing(_ask("https://hanging.example/"))),
        tolerated=_AUTHORITY_SILENT,
        around=_silent_authority,
    ),
    "connect-storm": Case(
        WORKLOAD,
        "400 clients that connect and close at once, again and again",
        "A connection that is closed leaves its place.",
        crowd(400, hasty),
    ),
    "reset-storm": Case(
        WORKLOAD,
        "400 clients that reset their connections in the middle of a body, again and again",
        "What has arrived is dropped with the connection.",
        crowd(400, resetting(_held(64 * 1024))),
    ),
    "reset-behind-a-hanging-authority": Case(
        WORKLOAD,
        "400 clients that ask what the authority leaves unanswered and reset their connections, again and again",
        "Nobody waits any more: the place is free.",
        crowd(400, resetting(_ask("https://hanging.example/"))),
        around=_silent_authority,
    ),
    "refusals": Case(
        WORKLOAD,
        "64 clients that are refused again and again: no `Metadata: true`, unknown paths, other methods",
        "Refusals cost as little as answers; nothing is kept of them.",
        crowd(
            64,
            asking(
                _TOKEN.replace(b"Metadata: true\r\n", b""),
                b"GET /nothing" + _HEADERS + b"\r\n",
                b"PUT " + _TOKEN.removeprefix(b"GET "),
            ),
        ),
        frozenset({"400", "404", "405"}),
    ),
    "passed-on-and-read-slowly": Case(
        WORKLOAD,
        "16 slow readers of an answer of 512 KiB of the node's metadata service",
        "It arrives whole, however slow the reader.",
        crowd(16, reading_slowly(_INSTANCE)),
        frozenset({"200"}),
        tolerated=frozenset(),
        around=_large_answers,
    ),
}
