"""One HTTP/1.1 connection as a state machine: bytes in, requests out, within limits. Knows no socket and no clock.

Where a head ends is decided here, by its empty line, before any parser sees it: so the limits are exact, the way the
bytes were split cannot matter, and what follows a message is never mixed into it.
"""

# ruff: noqa: PLC0415 -- start-up is measured: the decoder of chunked bodies is loaded with the first of them
from typing import TYPE_CHECKING, TypeAlias

from wisp.http.head import CHUNKED, TARGET_LIMIT, TARGET_TOO_LONG, Head, Reject, Request, parse_head

if TYPE_CHECKING:
    from wisp.http.chunked import ChunkedBody

__all__ = ["BODY_LIMIT", "HEAD_LIMIT", "TARGET_LIMIT", "Connection", "Continue", "Event", "Memo", "Reject", "Request"]

HEAD_LIMIT = 16 * 1024
"""Bytes of the longest head, its empty line included."""
BODY_LIMIT = 64 * 1024
"""Bytes of the largest body; of a chunked one, its framing may take as much again."""

_LINE_LIMIT = TARGET_LIMIT + len("GET  HTTP/1.1\r\n") + 16  # no registered method is longer than that
_MEMO_HEAD = 1024
"""Longest head worth remembering, in bytes."""


class Continue:
    """The client waits for `100 Continue` before it sends the body."""

    __slots__ = ()


Event: TypeAlias = Request | Continue | Reject


class Memo(dict[bytes, Request]):
    """Heads seen before and the requests they are: a workload asks with the same bytes again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.with_body: dict[bytes, Head] = {}
        """Those that a body of so many bytes follows."""

    def whole(self, data: bytes) -> Request | None:
        """Return the request that `data` is, a known head and all of its body; None where it may be anything else."""
        if not self.with_body:
            return None
        end = data.find(b"\r\n\r\n") + 4
        head = self.with_body.get(data[:end])
        if head is None or len(data) != end + head.length:
            return None
        return _with_body(head, data[end:])

    def remember(self, raw: bytes, head: Head, most: int = 32) -> None:
        """Keep a head; start over when `most` are held."""
        if len(raw) <= _MEMO_HEAD:
            if len(self) + len(self.with_body) >= most:
                self.clear()
                self.with_body.clear()
            if head.length == 0:
                self[raw] = head.request
            else:
                self.with_body[raw] = head


class Connection:
    """The receiving half of one connection.

    Call `receive` with what arrived, then `next_event` until it gives None. After a `Reject` nothing more comes.
    """

    __slots__ = ("_body", "_body_limit", "_buffer", "_continue_sent", "_head", "_memo", "_rejected")

    def __init__(self, memo: Memo | None = None, body_limit: int = BODY_LIMIT) -> None:
        self._memo = Memo() if memo is None else memo
        self._body_limit = body_limit
        self._buffer = bytearray()
        self._head: Head | None = None
        self._body: ChunkedBody | None = None
        self._continue_sent = False
        self._rejected = False

    @property
    def between_messages(self) -> bool:
        """Whether no byte of an unfinished message is held."""
        return not self._buffer and self._head is None

    @property
    def held(self) -> int:
        """Bytes received that are not part of a request returned so far."""
        return len(self._buffer) + (0 if self._body is None else self._body.held)

    def receive(self, data: bytes) -> Event | None:
        """Take `data` and return the first event that it completes, if any."""
        if self._rejected:
            return None
        if not self._buffer and self._head is None:
            known = self._memo.get(data) if len(data) <= _MEMO_HEAD else None
            if known is None:
                known = self._memo.whole(data)
            if known is not None:
                return known
        self._buffer += data
        return self.next_event()

    def keep(self, data: bytes) -> None:
        """Take `data` without looking at it: while a request is being answered, the next ones wait."""
        if not self._rejected:
            self._buffer += data

    def next_event(self) -> Event | None:
        """Return the next event that the bytes at hand complete, or None when more are needed."""
        if not self._buffer and self._head is None:
            return None
        event = self._take_head() if self._head is None else self._take_body(self._head)
        if isinstance(event, Reject):
            self._rejected = True
            self._buffer.clear()  # so that there is nothing more to take
            self._head = self._body = None
        return event

    def _take_head(self) -> Event | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # empty lines before a request are ignored (RFC 9112 §2.2)
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n") + 4
        size = end if end >= 4 else len(buffer)
        reject = _overdue(buffer, size)
        if reject is not None or end < 4:
            return reject
        raw = bytes(buffer[:end])
        del buffer[:end]
        request = self._memo.get(raw)
        if request is not None:
            return request
        head = self._memo.with_body.get(raw)
        return self._parsed(raw) if head is None else self._begin_body(head)

    def _parsed(self, raw: bytes) -> Event | None:
        head = parse_head(raw)
        if isinstance(head, Reject):
            return head
        if head.length == 0:
            self._memo.remember(raw, head)
            return head.request
        if head.length == CHUNKED or head.length > self._body_limit:
            from wisp.http.chunked import ChunkedBody, too_large

            if head.length > self._body_limit:
                return too_large(self._body_limit)
            self._body = ChunkedBody(self._body_limit)
        else:
            self._memo.remember(raw, head)
        return self._begin_body(head)

    def _begin_body(self, head: Head) -> Event | None:
        self._head = head
        self._continue_sent = False
        return self._take_body(head)

    def _take_body(self, head: Head) -> Event | None:
        if head.expects_continue and not self._continue_sent and not self._buffer:
            self._continue_sent = True
            return Continue()
        body = self._sized_body(head.length) if self._body is None else self._body.feed(self._buffer)
        if isinstance(body, bytes):
            self._head = self._body = None
            return _with_body(head, body)
        return body

    def _sized_body(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        with memoryview(self._buffer) as buffer:
            body = bytes(buffer[:length])
        del self._buffer[:length]
        return body


def _with_body(head: Head, body: bytes) -> Request:
    method, target, headers, _, http_1_0, keep_alive = head.request
    return Request(method, target, headers, body, http_1_0, keep_alive)


def _overdue(buffer: bytearray, size: int) -> Reject | None:
    """Refuse a head, of which `buffer` begins with `size` bytes, that cannot be right however it goes on.

    Each rule looks no further than the byte that breaks it, so that it holds whether or not more has arrived.
    """
    if size >= _LINE_LIMIT and buffer.find(b"\n", 0, _LINE_LIMIT) < 0:
        return TARGET_TOO_LONG
    seen = min(size, HEAD_LIMIT)
    if buffer.count(b"\n", 0, seen) != buffer.count(b"\r\n", 0, seen):
        return Reject(400, "A line of the request head does not end in CRLF")
    if size > HEAD_LIMIT:
        return Reject(431, f"The request head is longer than {HEAD_LIMIT} bytes")
    return None
