"""Reads one request head (RFC 9112 §2-3) and says what it asks and how long its body is. Knows no socket and no clock.

llhttp, through httptools, does the reading; what is added here is the strictness that a proxy in front of a token
needs: one Host, one framing of the body, no version but 1.0 and 1.1.
"""

from typing import NamedTuple

import httptools

CHUNKED = -1
TARGET_LIMIT = 8 * 1024
"""Bytes of the longest target."""


class Request(NamedTuple):
    """One request: `target` as sent, header names in lower case, values without surrounding blanks."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    http_1_0: bool
    keep_alive: bool

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of the header `name` (lower case), or None."""
        for candidate, value in self.headers:
            if candidate == name:
                return value
        return None


class Reject(NamedTuple):
    """The connection cannot go on: answer `status` with `reason`, then close."""

    status: int
    reason: str


TARGET_TOO_LONG = Reject(414, f"The request target is longer than {TARGET_LIMIT} bytes")


class Head:
    """A parsed head: the request still without its body, the body's length in bytes (or CHUNKED), and 100-continue."""

    __slots__ = ("expects_continue", "length", "request")

    def __init__(self, request: Request, length: int, *, expects_continue: bool) -> None:
        self.request = request
        self.length = length
        self.expects_continue = expects_continue


class _Fields(list[tuple[bytes, bytes]]):
    """Header fields as llhttp calls back with them; only the parser refers to it, so no cycle is left to collect."""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.append((name.lower(), value.strip(b" \t")))


def _keeps_alive(fields: _Fields, *, http_1_0: bool) -> bool:
    """Say whether the connection goes on after this request (RFC 9112 §9.3)."""
    options = {
        option.strip(b" \t").lower() for name, value in fields if name == b"connection" for option in value.split(b",")
    }
    return b"close" not in options and (not http_1_0 or b"keep-alive" in options)


def parse_head(head: bytes) -> Head | Reject:
    """Parse `head`, which ends in its empty line and holds nothing after it; what llhttp refuses is a 400."""
    line = head[: head.index(b"\r\n")]
    shape = line.split(b" ")
    if len(shape) != 3 or b"\r" in line:  # llhttp passes over a CR before the method
        return Reject(400, "The request line must be: method, one space, target, one space, HTTP version")
    if shape[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return Reject(505, "Only HTTP/1.1 and HTTP/1.0 are served")
    if len(shape[1]) > TARGET_LIMIT:
        return TARGET_TOO_LONG
    fields = _Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # an offer to switch protocols may be ignored (RFC 9110 §7.8); Java's client makes one on every request
    except httptools.HttpParserInvalidMethodError:
        return Reject(405, "The request method is not known")
    except httptools.HttpParserError as error:
        return Reject(400, f"The request head is malformed: {error}")
    http_1_0 = shape[2] == b"HTTP/1.0"
    keep_alive = _keeps_alive(fields, http_1_0=http_1_0)
    return _framed(Request(shape[0], shape[1], tuple(fields), b"", http_1_0, keep_alive))


def _framed(request: Request) -> Head | Reject:
    """Decide the body's framing (RFC 9112 §6) and refuse what another server could read otherwise."""
    http_1_0 = request.http_1_0
    names = [name for name, _ in request.headers]
    hosts = names.count(b"host")
    if hosts > 1 or (hosts == 0 and not http_1_0):
        return Reject(400, "Exactly one Host header is required (RFC 9112 section 3.2)")
    length = 0
    if b"transfer-encoding" in names:
        if http_1_0:
            return Reject(400, "Transfer-Encoding is not part of HTTP/1.0")
        if (request.header(b"transfer-encoding") or b"").lower() != b"chunked":
            return Reject(501, "No transfer coding but chunked is served")
        length = CHUNKED
    elif b"content-length" in names:
        length = int(request.header(b"content-length") or b"0")
    expectation = (request.header(b"expect") or b"").lower()
    if expectation not in (b"", b"100-continue"):
        return Reject(417, "No expectation but 100-continue is met")
    return Head(request, length, expects_continue=expectation != b"" and length != 0 and not http_1_0)
