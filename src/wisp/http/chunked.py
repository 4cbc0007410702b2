"""Decodes one chunked body (RFC 9112 §7.1) and finds its exact end. Knows no socket and no clock."""

import httptools

from wisp.http.head import Reject

_HEAD = b"POST / HTTP/1.1\r\nHost: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"


class _Decoded(bytearray):
    """The body as llhttp calls back with it; only the parser refers to it, so no cycle holds bodies back."""

    def __init__(self) -> None:
        super().__init__()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self += data

    def on_message_complete(self) -> None:
        self.complete = True


class ChunkedBody:
    """A decoder of at most `limit` bytes, fed line by line.

    A message ends at a line feed only, so no byte of the next request is swallowed.
    """

    __slots__ = ("_body", "_limit", "_parser", "_room")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._room = 2 * limit  # chunk extensions and trailers are not part of the body, yet must not be endless either
        self._body = _Decoded()
        self._parser = httptools.HttpRequestParser(self._body)
        self._parser.feed_data(_HEAD)

    @property
    def held(self) -> int:
        """Bytes of the body that have been decoded."""
        return len(self._body)

    def feed(self, buffer: bytearray) -> bytes | Reject | None:
        """Take what belongs to the body off the front of `buffer`; return the whole body at its end, else None."""
        try:
            self._decode(buffer)
        except httptools.HttpParserError as error:
            if len(self._body) <= self._limit:
                return Reject(400, f"The chunked body is malformed: {error}")
        if len(self._body) > self._limit or not (self._room or self._body.complete):
            return too_large(self._limit)
        return bytes(self._body) if self._body.complete else None

    def _decode(self, buffer: bytearray) -> None:
        position = 0
        while position < len(buffer) and self._room and len(self._body) <= self._limit and not self._body.complete:
            end = (buffer.find(b"\n", position) + 1) or len(buffer)
            line = buffer[position : min(end, position + self._room)]
            self._parser.feed_data(line)
            self._room -= len(line)
            position += len(line)
        del buffer[:position]


def too_large(limit: int) -> Reject:
    """Return the refusal of a body of more than `limit` bytes."""
    return Reject(413, f"The request body is larger than {limit} bytes")
