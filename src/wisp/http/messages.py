"""HTTP/1.1 messages as this server sees them: requests, rejections and responses, and the bytes of a response."""

from typing import NamedTuple

JSON = b"application/json; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
WITHOUT_BODY = (204, 304)
"""Statuses of responses that never have a body (RFC 9112 §6.3)."""

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


class Request(NamedTuple):
    """One request: `target` as sent, header names in lower case, values without surrounding blanks.

    `source`: the client's address; only servers on asyncio set it.
    """

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    http_1_0: bool
    keep_alive: bool
    source: str = ""

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of the header `name` (lower case), or None."""
        for candidate, value in self.headers:
            if candidate == name:
                return value
        return None


class Reject(NamedTuple):
    """Bytes that are not a request we serve: answer `status` with `reason`, then close the connection."""

    status: int
    reason: str


class Response(NamedTuple):
    """A response before it is bytes. `headers` are whole lines, each ending in CRLF."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: bytes = b""


def retry_after(seconds: float | None) -> bytes:
    """Return the line of the header Retry-After (RFC 9110 §10.2.3): whole seconds, rounded up, at least one."""
    wait = round(seconds or 1, 3)  # the difference of two times can be 30.0000000000005 for 30
    return b"Retry-After: %d\r\n" % max(1, -int(-wait // 1))


def encode(
    response: Response, date: bytes, *, keep_alive: bool = True, http_1_0: bool = False, head: bool = False
) -> bytes:
    """Return the bytes of `response`. `date` is an HTTP-date (RFC 9110 §5.6.7); `head`: leave out the body."""
    status, body, content_type, headers = response
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nDate: %b\r\n%b%b\r\n%b" % (
        status,
        REASONS.get(status, b"Unknown"),
        content_type,
        len(body),
        date,
        headers,
        connection_header(keep_alive=keep_alive, http_1_0=http_1_0),
        b"" if head else body,
    )


def connection_header(*, keep_alive: bool, http_1_0: bool) -> bytes:
    """Return the Connection header where the client would otherwise assume something else (RFC 9112 §9.3)."""
    if not keep_alive:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if http_1_0 else b""
