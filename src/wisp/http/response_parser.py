"""Reads one response of another server (RFC 9112): bytes in, the head and pieces of the body out.

Where the head ends is decided here, by its empty line; llhttp, through httptools, reads the head and finds the end of
the body. What follows the response is dropped: one connection brings one.
"""

from typing import NamedTuple

import httptools

from wisp.http.messages import WITHOUT_BODY

OVERHEAD_LIMIT = 16 * 1024
"""Bytes of heads (interim ones count), and of chunk extensions and trailers, that may come without any of the body."""


class StreamedResponse(NamedTuple):
    """A response whose body follows in pieces: `length` bytes in all; None if only its end tells."""

    status: int
    headers: bytes
    length: int | None


class ResponseHead(NamedTuple):
    """The head: header names in lower case; `length` of the body in bytes, None if only its end tells."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of the header `name` (lower case), or None."""
        return next((value for candidate, value in self.headers if candidate == name), None)


class Malformed(NamedTuple):
    """The bytes are not a response that could be forwarded."""

    reason: str


class _Message:
    """One message as llhttp calls back with it; only the parser and the reader refer to it, so no cycle is left."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.headed = False
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))  # trailers too, but the head has been taken by then

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


class ResponseReader:
    """The response as far as it has arrived. `head` is set once it is whole; `feed` returns the body."""

    __slots__ = ("_buffer", "_message", "_overhead", "_parser", "_until_end", "head")

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self._buffer = bytearray()
        self._overhead = 0
        self._until_end = False
        self._start()

    @property
    def complete(self) -> bool:
        """Whether the whole response has arrived."""
        return self.head is not None and self._message.complete

    def feed(self, data: bytes) -> bytes | Malformed:
        """Take what has arrived and return what of it is body; after Malformed nothing more may be fed."""
        if self.head is None:
            self._buffer += data
            malformed = self._take_heads()
            if malformed is not None or self.head is None:
                return malformed or b""
            data = bytes(self._buffer)
            self._buffer.clear()
        return self._take_body(data)

    def ended(self) -> bool:
        """Return whether what has arrived is a whole response, now that the server has closed the connection."""
        return self.complete or (self.head is not None and self._until_end)

    def _start(self) -> None:
        self._message = _Message()
        self._parser = httptools.HttpResponseParser(self._message)

    def _take_heads(self) -> Malformed | None:
        """Take heads off the buffer up to the final one: interim ones (1xx) say nothing that is forwarded."""
        buffer = self._buffer
        while self.head is None and (end := buffer.find(b"\r\n\r\n") + 4) >= 4 and self._overhead <= OVERHEAD_LIMIT:
            malformed = self._take_head(bytes(buffer[:end]))
            if malformed is not None:
                return malformed
            del buffer[:end]
            self._overhead += end
        if self._overhead + (len(buffer) if self.head is None else 0) > OVERHEAD_LIMIT:
            return Malformed(f"its head is longer than {OVERHEAD_LIMIT} bytes")
        return None

    def _take_head(self, raw: bytes) -> Malformed | None:
        self._start()
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            return Malformed("it switches protocols")
        except httptools.HttpParserError as error:
            return Malformed(str(error))
        status = self._parser.get_status_code()
        if not raw.startswith(b"HTTP/1.") or not 100 <= status <= 599 or not self._message.headed:
            return Malformed("it is not an HTTP/1.1 response")
        if status >= 200:
            return self._frame(ResponseHead(status, tuple(self._message.headers), None))
        return None

    def _frame(self, head: ResponseHead) -> Malformed | None:
        """Find the framing of the body (RFC 9112 §6.3); llhttp has refused a head with two."""
        coding = head.header(b"transfer-encoding")
        length = head.header(b"content-length")
        if coding is not None and coding.lower() != b"chunked":
            return Malformed("its transfer coding is not chunked")
        if head.status in WITHOUT_BODY:
            self._message.complete = True
            self.head = head._replace(length=0)
        else:
            self._until_end = coding is None and length is None
            self.head = head if length is None else head._replace(length=int(length))
        return None

    def _take_body(self, data: bytes) -> bytes | Malformed:
        message = self._message
        if message.complete:
            return b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not message.complete:
                return Malformed(str(error))
        body = b"".join(message.body)
        message.body.clear()
        self._overhead = 0 if body else self._overhead + len(data)
        if self._overhead > OVERHEAD_LIMIT and not message.complete:
            return Malformed(f"its chunks hold more than {OVERHEAD_LIMIT} bytes of something else")
        return body
