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
    from tests.support.authority import Post

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

_EVICTED = "At 1,024 connections, the incomplete request that has waited longest is closed."

CASES: dict[str, Case] = {
    "incomplete-requests": Case(
        WORKLOAD,
        "1,200 incomplete requests, repeated when they are closed",
        _EVICTED,
        crowd(1200, sending(_INCOMPLETE)),
    ),
    "idle-connections": Case(
        WORKLOAD,
        "1,200 connections that send nothing",
        "The connection that has been idle longest is closed.",
        crowd(1200, sending(b"")),
    ),
    "slow-readers": Case(
        WORKLOAD,
        "1,100 connections that request tokens, read nothing, and reconnect when they are closed",
        "At the limit, the slowest reader is closed.",
        crowd(1100, never_reading(_TOKEN, 500)),
    ),
    "slow-readers-of-large-answers": Case(
        WORKLOAD,
        "40 connections that do not read a response of 512 KiB from the node's metadata service",
        "The sidecar reads only as much as the client reads; at most 32 such requests at a time.",
        crowd(40, never_reading(_INSTANCE, 1)),
        around=_large_answers,
    ),
    "bodies-held": Case(
        WORKLOAD,
        "1,200 bodies of 64 KiB without their last byte",
        "The total size of incomplete requests is bounded.",
        crowd(1200, sending(_held(64 * 1024))),
        tolerated=CUT | {"413"},
    ),
    "connections-with-80-kb": Case(
        WORKLOAD,
        "1,024 connections with 80 kB each: a head of 16 kB and a body of 64 KiB without its last byte",
        "The total size of incomplete requests is bounded.",
        crowd(
            1024, sending(_POST + b"X-Field: " + b"x" * 15_500 + b"\r\nContent-Length: 65536\r\n\r\n" + b" " * 65_535)
        ),
        tolerated=CUT | {"413"},
    ),
    "pipelines-behind-a-hanging-authority": Case(
        WORKLOAD,
        "1,024 connections with a request that the authority does not answer, followed by 80 kB of requests",
        "Requests after an unanswered one are not read; the total size of buffered data is bounded.",
        crowd(1024, sending(_ask("https://hanging.example/") + _TOKEN * 500)),
        tolerated=_AUTHORITY_SILENT,
        around=_silent_authority,
    ),
    "exchanges-held": Case(
        WORKLOAD,
        "1,024 connections that request as many different resources while the authority does not answer",
        "The number of concurrent exchanges is bounded; further requests are answered with 503 and `Retry-After`.",
        _distinct_resources_held,
        tolerated=_AUTHORITY_SILENT,
        around=_silent_authority,
    ),
    "distinct-resources": Case(
        WORKLOAD,
        "Requests for tokens of always different resources",
        "The token store is bounded; the least recently used token is removed first.",
        _distinct_resources,
        frozenset({"200"}),
        tolerated=_AUTHORITY_SILENT,
    ),
    "pipelined-flood": Case(
        WORKLOAD,
        "100 connections that send 5,000 pipelined requests each and read no response",
        "Nothing is read from a connection with 64 KiB of unread responses.",
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
        "1,100 requests that are sent byte by byte",
        "A request has 5 seconds to arrive, even if its connection is active.",
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
        "1,200 incomplete heads of 16 kB",
        _EVICTED,
        crowd(1200, sending(_INCOMPLETE + b"X-Field: " + b"x" * 15_800)),
    ),
    "long-targets": Case(
        WORKLOAD,
        "64 connections with different targets of 8 kB",
        "The number and the size of cached requests are bounded.",
        crowd(64, asking(*(b"GET /%d" % number + b"x" * 8000 + _HEADERS + b"\r\n" for number in range(50)))),
        frozenset({"404"}),
    ),
    "half-closed": Case(
        WORKLOAD,
        "1,200 connections that close their sending half after an incomplete request",
        "A connection whose request can no longer be completed is closed.",
        crowd(1200, half_closing(_INCOMPLETE)),
    ),
    "half-closed-behind-a-hanging-authority": Case(
        WORKLOAD,
        "1,100 connections that close their sending half after a request that the authority does not answer",
        "Waiting clients get the response; the number of waiting requests is bounded.",
        crowd(1100, half_closing(_ask("https://hanging.example/"))),
        tolerated=_AUTHORITY_SILENT,
        around=_silent_authority,
    ),
    "connect-storm": Case(
        WORKLOAD,
        "400 clients that repeatedly connect and close immediately",
        "A closed connection no longer counts.",
        crowd(400, hasty),
    ),
    "reset-storm": Case(
        WORKLOAD,
        "400 clients that repeatedly reset their connections in the middle of a body",
        "The received data is discarded with the connection.",
        crowd(400, resetting(_held(64 * 1024))),
    ),
    "reset-behind-a-hanging-authority": Case(
        WORKLOAD,
        "400 clients that repeatedly send requests that the authority does not answer and reset their connections",
        "A reset connection no longer counts, because no client waits for the response.",
        crowd(400, resetting(_ask("https://hanging.example/"))),
        around=_silent_authority,
    ),
    "refusals": Case(
        WORKLOAD,
        "64 clients that repeatedly send requests that are refused: no `Metadata: true`, unknown paths, other methods",
        "Refusals are as cheap as responses, and nothing is stored for them.",
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
        "16 slow readers of a response of 512 KiB from the node's metadata service",
        "Every reader gets the complete response.",
        crowd(16, reading_slowly(_INSTANCE)),
        frozenset({"200"}),
        tolerated=frozenset(),
        around=_large_answers,
    ),
}
