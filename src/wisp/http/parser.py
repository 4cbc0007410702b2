"""Reads HTTP/1.1 requests from a stream of bytes (RFC 9112), within limits.

Where a head ends is decided here, by its empty line, before llhttp (through httptools) sees it: so the limits are
exact, the way the bytes were split cannot matter, and what follows a message is never mixed into it. Added to llhttp is
the strictness that a proxy in front of a token needs: one Host, one framing of the body, no version but 1.0 and 1.1.
"""

from typing import NamedTuple, TypeAlias

import httptools

from wisp.http.messages import Reject, Request

TARGET_LIMIT = 8 * 1024
"""Bytes of the longest target."""
HEAD_LIMIT = 16 * 1024
"""Bytes of the longest head, its empty line included."""
HEADERS_LIMIT = 100
"""Header lines of a head: parsed, a short one takes up to thirty times its bytes."""
BODY_LIMIT = 64 * 1024
"""Default for bytes of the largest body; of a chunked one, its framing may take as much again."""

_CHUNKED = -1
_LINE_LIMIT = TARGET_LIMIT + len("GET  HTTP/1.1\r\n") + 16  # no registered method is longer than that
_CACHED_HEAD = 1024
_CACHED_HEADS = 32
_CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
_TARGET_TOO_LONG = Reject(414, f"The request target is longer than {TARGET_LIMIT} bytes")


class Continue:
    """The client waits for `100 Continue` before it sends the body."""

    __slots__ = ()


Event: TypeAlias = Request | Continue | Reject


class Head(NamedTuple):
    """A parsed head: the request still without its body, and the body's length in bytes (negative: chunked)."""

    request: Request
    length: int
    expects_continue: bool


class _Fields(list[tuple[bytes, bytes]]):
    """Header fields as llhttp calls back with them; only the parser refers to it, so no cycle is left to collect."""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.append((name.lower(), value.strip(b" \t")))


def parse_head(head: bytes) -> Head | Reject:
    """Parse `head`, which ends in its empty line and holds nothing after it."""
    line = head[: head.index(b"\r\n")]
    parts = line.split(b" ")
    if len(parts) != 3 or b"\r" in line:  # llhttp passes over a CR before the method
        return Reject(400, "The request line must be: method, one space, target, one space, HTTP version")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        return Reject(505, "Only HTTP/1.1 and HTTP/1.0 are served")
    if len(target) > TARGET_LIMIT:
        return _TARGET_TOO_LONG
    fields = _Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # an offer to switch protocols may be ignored (RFC 9110 §7.8); Java's client makes one on every request
    except httptools.HttpParserInvalidMethodError:
        return Reject(405, "The request method is not known")
    except httptools.HttpParserError as error:
        return Reject(400, f"The request head is malformed: {error}")
    http_1_0 = version == b"HTTP/1.0"
    options = {
        option.strip(b" \t").lower() for name, value in fields if name == b"connection" for option in value.split(b",")
    }
    keep_alive = b"close" not in options and (not http_1_0 or b"keep-alive" in options)  # RFC 9112 §9.3
    return _framed(Request(method, target, tuple(fields), b"", http_1_0, keep_alive))


def _framed(request: Request) -> Head | Reject:
    """Decide the body's framing (RFC 9112 §6) and refuse what another server could read differently."""
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
            return Reject(501, "Only the chunked transfer coding is served")
        length = _CHUNKED
    elif b"content-length" in names:
        length = int(request.header(b"content-length") or b"0")
    expectation = (request.header(b"expect") or b"").lower()
    if expectation not in (b"", b"100-continue"):
        return Reject(417, "Only the expectation 100-continue is met")
    return Head(request, length, expects_continue=expectation != b"" and length != 0 and not http_1_0)


class _Decoded(bytearray):
    """A chunked body as llhttp calls back with it; only the parser refers to it, so no cycle holds bodies back."""

    complete = False

    def on_body(self, data: bytes) -> None:
        self += data

    def on_message_complete(self) -> None:
        self.complete = True


class ChunkedBody:
    """A decoder of one chunked body of at most `limit` bytes (RFC 9112 §7.1).

    It is fed line by line: a message ends at a line feed only, so no byte of the next request is swallowed.
    """

    __slots__ = ("_limit", "_parser", "_room", "body")

    def __init__(self, limit: int) -> None:
        self.body = _Decoded()
        """What has been decoded."""
        self._limit = limit
        self._room = 2 * limit  # chunk extensions and trailers are not part of the body, yet must not be endless either
        self._parser = httptools.HttpRequestParser(self.body)
        self._parser.feed_data(_CHUNKED_HEAD)

    def feed(self, buffer: bytearray) -> bytes | Reject | None:
        """Take what belongs to the body off the front of `buffer`; return the whole body at its end, else None."""
        body = self.body
        try:
            self._decode(buffer)
        except httptools.HttpParserError as error:
            if len(body) <= self._limit:
                return Reject(400, f"The chunked body is malformed: {error}")
        if len(body) > self._limit or not (self._room or body.complete):
            return _too_large(self._limit)
        return bytes(body) if body.complete else None

    def _decode(self, buffer: bytearray) -> None:
        position = 0
        while position < len(buffer) and self._room and len(self.body) <= self._limit and not self.body.complete:
            end = (buffer.find(b"\n", position) + 1) or len(buffer)
            line = buffer[position : min(end, position + self._room)]
            self._parser.feed_data(line)
            self._room -= len(line)
            position += len(line)
        del buffer[:position]


def _too_large(limit: int) -> Reject:
    return Reject(413, f"The request body is larger than {limit} bytes")


class HeadCache(dict[bytes, Request]):
    """Requests without a body by their bytes: a workload sends the same bytes again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.with_body: dict[bytes, Head] = {}
        """Heads that a body of known length follows."""

    def whole(self, data: bytes) -> Request | None:
        """Return the request if `data` is a cached head and all of its body, else None."""
        if not self.with_body:
            return None
        end = data.find(b"\r\n\r\n") + 4
        head = self.with_body.get(data[:end])
        if head is None or len(data) != end + head.length:
            return None
        return _with_body(head, data[end:])

    def add(self, raw: bytes, head: Head) -> None:
        """Cache a head unless it is long; start over when the cache is full."""
        if len(raw) <= _CACHED_HEAD:
            if len(self) + len(self.with_body) >= _CACHED_HEADS:
                self.clear()
                self.with_body.clear()
            if head.length == 0:
                self[raw] = head.request
            else:
                self.with_body[raw] = head


class RequestReader:
    """Reads the requests of one connection.

    Call `receive` with what arrived, then `next_event` until it returns None. After a `Reject` there is nothing more.
    """

    __slots__ = ("_body", "_body_limit", "_cache", "_continue_sent", "_head", "_rejected", "buffer")

    def __init__(self, cache: HeadCache | None = None, body_limit: int = BODY_LIMIT) -> None:
        self.buffer = bytearray()
        """Bytes received that have not been looked at, or are not a whole head or body yet."""
        self._cache = HeadCache() if cache is None else cache
        self._body_limit = body_limit
        self._head: Head | None = None
        self._body: ChunkedBody | None = None
        self._continue_sent = False
        self._rejected = False

    @property
    def between_messages(self) -> bool:
        """Whether no byte of an unfinished message is held."""
        return not self.buffer and self._head is None

    @property
    def held(self) -> int:
        """Bytes received that are not part of a request returned so far."""
        return len(self.buffer) + (0 if self._body is None else len(self._body.body))

    def receive(self, data: bytes) -> Event | None:
        """Take `data` and return the first event that it completes, if any."""
        if not self.buffer and self._head is None:
            if self._rejected:
                return None
            request = (self._cache.get(data) if len(data) <= _CACHED_HEAD else None) or self._cache.whole(data)
            if request is not None:
                return request
        self.buffer += data
        return self.next_event()

    def discard(self) -> None:
        """Free what is held; nothing more is read."""
        self._rejected = True
        self.buffer.clear()
        self._head = self._body = None

    def next_event(self) -> Event | None:
        """Return the next event that the bytes at hand complete, or None when more are needed."""
        if not self.buffer and self._head is None:
            return None
        event = self._take_head() if self._head is None else self._take_body(self._head)
        if isinstance(event, Reject):
            self.discard()
        return event

    def _take_head(self) -> Event | None:
        buffer = self.buffer
        while buffer.startswith(b"\r\n"):  # empty lines before a request are ignored (RFC 9112 §2.2)
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n") + 4
        size = end if end >= 4 else len(buffer)
        reject = _over_limit(buffer, size)
        if reject is not None or end < 4:
            return reject
        raw = bytes(buffer[:end])
        del buffer[:end]
        request = self._cache.get(raw)
        if request is not None:
            return request
        head = self._cache.with_body.get(raw) or parse_head(raw)
        if isinstance(head, Reject):
            return head
        if head.length > self._body_limit:
            return _too_large(self._body_limit)
        if head.length != _CHUNKED:
            self._cache.add(raw, head)
        if head.length == 0:
            return head.request
        self._head = head
        self._body = ChunkedBody(self._body_limit) if head.length == _CHUNKED else None
        self._continue_sent = False
        return self._take_body(head)

    def _take_body(self, head: Head) -> Event | None:
        if head.expects_continue and not self._continue_sent and not self.buffer:
            self._continue_sent = True
            return Continue()
        body = self._sized_body(head.length) if self._body is None else self._body.feed(self.buffer)
        if isinstance(body, bytes):
            self._head = self._body = None
            return _with_body(head, body)
        return body

    def _sized_body(self, length: int) -> bytes | None:
        if len(self.buffer) < length:
            return None
        with memoryview(self.buffer) as buffer:
            body = bytes(buffer[:length])
        del self.buffer[:length]
        return body


def _with_body(head: Head, body: bytes) -> Request:
    method, target, headers, _, http_1_0, keep_alive, _ = head.request
    return Request(method, target, headers, body, http_1_0, keep_alive)


def _over_limit(buffer: bytearray, size: int) -> Reject | None:
    """Refuse a head, of which `buffer` begins with `size` bytes, that cannot be right however it continues.

    Each rule looks no further than the byte that breaks it, so that it holds whether or not more has arrived.
    """
    if size >= _LINE_LIMIT and buffer.find(b"\n", 0, _LINE_LIMIT) < 0:
        return _TARGET_TOO_LONG
    seen = min(size, HEAD_LIMIT)
    lines = buffer.count(b"\n", 0, seen)
    too_many = lines > HEADERS_LIMIT + 2  # the request line and the empty line
    if too_many:
        lines, seen = HEADERS_LIMIT + 3, 0
        for _ in range(lines):
            seen = buffer.index(b"\n", seen) + 1
    if lines != buffer.count(b"\r\n", 0, seen):
        return Reject(400, "A line of the request head does not end in CRLF")
    if too_many:
        return Reject(431, f"The request head has more than {HEADERS_LIMIT} headers")
    if size > HEAD_LIMIT:
        return Reject(431, f"The request head is longer than {HEAD_LIMIT} bytes")
    return None
