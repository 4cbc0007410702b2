"""The Kubernetes API over asyncio streams: one request, one answer, or the lines of a watch.

What is here of HTTP is what API servers need: a request with a length, and a kept connection for the next read.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from wisp.http.response_parser import Malformed, ResponseReader
from wisp.kubernetes.config import Access

PATIENCE = 10.0
"""Seconds that a request and its answer may take; for a watch, its head."""

_PIECE = 64 * 1024
_LARGEST = 64 * 1024 * 1024
_KEPT = 2
_KEEPALIVE = (  # a watch that nobody is at the other end of must not look like a quiet one
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
_JSON = b"application/json"
MERGE_PATCH = b"application/merge-patch+json"
JSON_PATCH = b"application/json-patch+json"


class UnansweredError(Exception):
    """The API server cannot be reached, is not trusted, or answers what is no HTTP; the text says which."""


class Reply(NamedTuple):
    """What the API server answered."""

    status: int
    body: bytes


class Ask(NamedTuple):
    """A request. `path` with its query; `accept` is a media type or several."""

    path: str
    method: bytes = b"GET"
    body: bytes = b""
    content_type: bytes = _JSON
    accept: bytes = _JSON


class _Line:
    """One connection to the API server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self, received: ResponseReader) -> bytes:
        """Read until the head is whole; return what of the body came with it."""
        piece = b""
        while received.head is None:
            data = await self.reader.read(_PIECE)
            if not data:
                raise UnansweredError("it closed the connection")
            piece = _piece(received, data)
        return piece

    def close(self) -> None:
        """Close it without ceremony."""
        with suppress(OSError, RuntimeError):
            self.writer.transport.abort()


class Api:
    """Ask the API server at `access`."""

    def __init__(self, access: Access, patience: float = PATIENCE) -> None:
        self._access = access
        self._patience = patience
        self._kept: list[_Line] = []

    async def ask(self, ask: Ask, patience: float | None = None) -> Reply:
        """Return the answer to one request. Raise UnansweredError, after `patience` seconds at the latest."""
        try:
            async with asyncio.timeout(self._patience if patience is None else patience):
                while ask.method == b"GET" and self._kept:
                    line = self._kept.pop()
                    with suppress(OSError, UnansweredError):  # it may have been closed while it was kept
                        return await self._exchange(line, ask)
                return await self._exchange(await self._connect(), ask)
        except TimeoutError:
            raise UnansweredError("it did not answer in time") from None
        except (OSError, ValueError) as error:  # ssl's errors are OSErrors; ValueError: a file that holds no token
            raise UnansweredError(_reason(error)) from None

    @asynccontextmanager
    async def lines(self, ask: Ask) -> AsyncIterator[tuple[int, AsyncGenerator[bytes, None]]]:
        """Ask for a stream; give its status and its lines as they come. Raise UnansweredError where it breaks."""
        line = None
        try:
            async with asyncio.timeout(self._patience):
                line = await self._connect()
                received = ResponseReader()
                line.writer.write(self._encode(ask))
                first = await line.head(received)
            assert received.head is not None  # noqa: S101 -- `head` returns with it
            yield received.head.status, _lines(line, received, first)
        except TimeoutError:
            raise UnansweredError("it did not answer in time") from None
        except (OSError, ValueError) as error:
            raise UnansweredError(_reason(error)) from None
        finally:
            if line is not None:
                line.close()

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop().close()

    async def _connect(self) -> _Line:
        place = self._access
        reader, writer = await asyncio.open_connection(
            place.host, place.port, ssl=place.context(), server_hostname=place.host, limit=_PIECE
        )
        plain = writer.get_extra_info("socket")
        for level, option, value in _KEEPALIVE:
            plain.setsockopt(level, option, value)
        return _Line(reader, writer)

    async def _exchange(self, line: _Line, ask: Ask) -> Reply:
        received = ResponseReader()
        try:
            line.writer.write(self._encode(ask))
            body = bytearray(await line.head(received))
            while not received.complete:
                data = await line.reader.read(_PIECE)
                if not data and received.ended():
                    break
                body += _piece(received, data)
                _bound(body)
        except BaseException:
            line.close()
            raise
        assert received.head is not None  # noqa: S101 -- `head` returns with it
        closes = (received.head.header(b"connection") or b"").lower() == b"close"
        if received.complete and not closes and len(self._kept) < _KEPT:
            self._kept.append(line)
        else:
            line.close()
        return Reply(received.head.status, bytes(body))

    def _encode(self, ask: Ask) -> bytes:
        place = self._access
        token = place.token()
        authorization = b"" if token is None else b"Authorization: Bearer %b\r\n" % token.reveal().encode("ascii")
        host = f"[{place.host}]" if ":" in place.host else place.host
        return b"%b %b HTTP/1.1\r\nHost: %b:%d\r\nUser-Agent: wisp\r\nAccept: %b\r\n%b%b\r\n%b" % (
            ask.method,
            (place.prefix + ask.path).encode("ascii"),
            host.encode("ascii"),
            place.port,
            ask.accept,
            authorization,
            b"Content-Type: %b\r\nContent-Length: %d\r\n" % (ask.content_type, len(ask.body)) if ask.body else b"",
            ask.body,
        )


async def _lines(line: _Line, received: ResponseReader, first: bytes) -> AsyncGenerator[bytes, None]:
    """Give each line of a body, without its end."""
    piece, unfinished = first, bytearray()
    while True:
        end, *beginnings = piece.split(b"\n")
        unfinished += end
        for each in beginnings:
            yield bytes(unfinished)
            unfinished = bytearray(each)
        if received.complete:
            return
        data = await line.reader.read(_PIECE)
        if not data:
            if received.ended():
                return
            raise UnansweredError("the stream broke off")
        piece = _piece(received, data)
        _bound(unfinished)


def _piece(received: ResponseReader, data: bytes) -> bytes:
    piece = received.feed(data) if data else Malformed("it ends early")
    if isinstance(piece, Malformed):
        raise UnansweredError(f"its answer is not HTTP: {piece.reason}")
    return piece


def _bound(body: bytearray) -> None:
    if len(body) > _LARGEST:
        raise UnansweredError(f"its answer is larger than {_LARGEST} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
