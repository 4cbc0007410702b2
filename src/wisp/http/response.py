"""Writes one HTTP response (RFC 9112 §4). Knows no socket; the date comes in as text."""

import time
from collections.abc import Callable
from typing import NamedTuple

JSON = b"application/json; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

REASONS = {
    200: b"OK",
    204: b"No Content",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    410: b"Gone",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    508: b"Loop Detected",
}


class Response(NamedTuple):
    """A response before it is bytes. `headers` are whole lines, each ending in CRLF."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: bytes = b""


def encode(
    response: Response, date: bytes, *, keep_alive: bool = True, http_1_0: bool = False, head: bool = False
) -> bytes:
    """Return the bytes of `response`; `date` is an HTTP-date (RFC 9110 §5.6.7).

    The request decides the rest: whether the connection goes on, whom that must be told, whether the body is withheld.
    """
    status, body, content_type, headers = response
    if not keep_alive:
        headers += b"Connection: close\r\n"
    elif http_1_0:
        headers += b"Connection: keep-alive\r\n"
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nDate: %b\r\n%b\r\n%b" % (
        status,
        REASONS.get(status, b"Unknown"),
        content_type,
        len(body),
        date,
        headers,
        b"" if head else body,
    )


class HttpDate:
    """The Date header's value, made anew once a second. `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._text = b""

    def at(self, now: float) -> bytes:
        """Return the present time as an HTTP-date (RFC 9110 §5.6.7); `now` is in seconds of a steady clock."""
        if now >= self._until:
            unix = self._clock()
            self._until = now + 1.0 - unix % 1.0
            self._text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(unix)).encode()
        return self._text
