"""Bytes that careless and hostile clients send, and the events that a `Connection` returns for them."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import strategies as st

from wisp.http.messages import Reject, Request
from wisp.http.parser import Continue, Event, HeadCache, RequestReader

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


def drained(connection: RequestReader, data: bytes) -> list[Event]:
    """Pass `data` to the connection and return every event that it completes."""
    events = []
    event = connection.receive(data)
    while event is not None:
        events.append(event)
        event = connection.next_event()
    return events


def events(pieces: Iterable[bytes], memo: HeadCache | None = None) -> list[Event]:
    """Return the events of a new connection that receives `pieces`."""
    connection = RequestReader(memo)
    return [event for piece in pieces for event in drained(connection, piece)]


def outcome(pieces: Iterable[bytes], memo: HeadCache | None = None) -> list[Request | Reject]:
    """Return the events without Continue, which depends on when the input arrives."""
    return [event for event in events(pieces, memo) if not isinstance(event, Continue)]


def one(data: bytes) -> Event:
    """Return the only event of `data`."""
    (event,) = events([data])
    return event


def cut(data: bytes, cut_points: Iterable[int]) -> list[bytes]:
    """Return `data` in pieces, cut at `cut_points`."""
    return [
        data[start:end] for start, end in pairwise([0, *sorted(place % (len(data) + 1) for place in cut_points), None])
    ]


cut_points = st.lists(st.integers(0, 200_000), max_size=20)
"""Where to cut."""

_tidy = st.sampled_from(
    [
        NEXT,
        GET,
        POST,
        b"\r\n",
        b"\r\n\r\n",
        b"GET / HTTP/1.0\r\n",
        b"GET http://h/p?q HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"Connection: close\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 65536\r\n",
        b"Content-Length: 65537\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"3\r\nabc\r\n",
        b"3;a=b\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nTrailer: x\r\n\r\n",
        b"ffff\r\n",
    ]
)
_rude = st.sampled_from(
    [
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b"GET",
        b" / HTTP/1.1\n",
        b"GET / HTTP/2.0\r\n",
        b"Host : x\r\n",
        b" folded\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Expect: tea\r\n",
        b"-3\r\n",
        b"3;" + b"e" * 70_000 + b"\r\nabc\r\n",
        b"a" * 8_200,
        b"x: " + b"b" * 9_000 + b"\r\n",
        b"1\r\nx\r\n" * 11_000,
        b"c" * 70_000,
    ]
)
streams = st.lists(_tidy | _tidy | _rude | st.binary(max_size=8), max_size=14).map(b"".join)
"""What looks like HTTP until it does not."""
