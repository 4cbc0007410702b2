"""A client of the Kubernetes API over asyncio streams: a request and its response, or the lines of a watch.

It speaks as much HTTP as API servers need: requests with a length, and kept connections for those that may be repeated.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from wisp.http.response_parser import Malformed, ResponseHead, ResponseReader
from wisp.kubernetes.config import ApiServer
from wisp.kubernetes.types import ApiRequest, ApiResponse, ApiUnavailableError

_TIME_LIMIT = 10.0
"""Seconds for a request and its response; for a watch, until its head has arrived."""

_READ_SIZE = 64 * 1024
_LARGEST_BODY = 64 * 1024 * 1024
_KEPT_CONNECTIONS = 2
_KEEPALIVE = (  # without it, a watch whose other end has vanished looks like one without changes
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class _Exchange:
    """A request on a connection, and the response as far as it has arrived."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._received = ResponseReader()

    async def send(self, request: bytes) -> tuple[ResponseHead, bytes]:
        """Send a request; return the head of the response and the part of the body that arrived with it."""
        self._received = ResponseReader()
        self._writer.write(request)
        piece = b""
        while self._received.head is None:
            data = await self._reader.read(_READ_SIZE)
            if not data:
                raise ApiUnavailableError("it closed the connection")
            piece = self._feed(data)
        return self._received.head, piece

    async def piece(self) -> bytes | None:
        """Return the next part of the body; None at its end."""
        if self._received.complete:
            return None
        data = await self._reader.read(_READ_SIZE)
        return None if not data and self._received.ended() else self._feed(data)

    @property
    def is_complete(self) -> bool:
        """Whether the response ended where its head said, so that the connection can be used again."""
        return self._received.complete

    def close(self) -> None:
        """Close the connection at once."""
        with suppress(OSError, RuntimeError):
            self._writer.transport.abort()

    def _feed(self, data: bytes) -> bytes:
        piece = self._received.feed(data) if data else Malformed("it ends early")
        if isinstance(piece, Malformed):
            raise ApiUnavailableError(f"its answer is not HTTP: {piece.reason}")
        return piece


class ApiClient:
    """Send requests to the API server `server`; `time_limit` is in seconds.

    `connections`: how many are kept for further requests.
    """

    def __init__(
        self, server: ApiServer, time_limit: float = _TIME_LIMIT, *, connections: int = _KEPT_CONNECTIONS
    ) -> None:
        self._server = server
        self._time_limit = time_limit
        self._connections = connections
        self._kept: list[_Exchange] = []

    async def request(self, request: ApiRequest, time_limit: float | None = None) -> ApiResponse:
        """Return the response to one request. Raise ApiUnavailableError, after `time_limit` seconds at the latest."""
        with _as_unavailable():
            try:
                async with asyncio.timeout(self._time_limit if time_limit is None else time_limit):
                    while (request.method == b"GET" or request.repeatable) and self._kept:
                        with suppress(OSError, ApiUnavailableError):  # it may have been closed while it was kept
                            return await self._response(self._kept.pop(), request)
                    return await self._response(await self._connect(), request)
            except TimeoutError:
                self.close()  # the server may have vanished, and then each of them would take as long
                raise

    @asynccontextmanager
    async def stream(self, request: ApiRequest) -> AsyncIterator[tuple[int, AsyncGenerator[bytes, None]]]:
        """Send a request; give the status and the lines of the response as they arrive.

        Raise ApiUnavailableError if the connection breaks.
        """
        exchange = None
        try:
            with _as_unavailable():
                async with asyncio.timeout(self._time_limit):
                    exchange = await self._connect()
                    head, piece = await exchange.send(self._encode(request))
                yield head.status, _lines(exchange, piece)
        finally:
            if exchange is not None:
                exchange.close()

    def close(self) -> None:
        """Close the kept connections."""
        while self._kept:
            self._kept.pop().close()

    async def _connect(self) -> _Exchange:
        server = self._server
        reader, writer = await asyncio.open_connection(
            server.host, server.port, ssl=server.tls_context(), server_hostname=server.host, limit=_READ_SIZE
        )
        plain = writer.get_extra_info("socket")
        for level, option, value in _KEEPALIVE:
            plain.setsockopt(level, option, value)
        return _Exchange(reader, writer)

    async def _response(self, exchange: _Exchange, request: ApiRequest) -> ApiResponse:
        try:
            head, first = await exchange.send(self._encode(request))
            body = bytearray(first)
            while (piece := await exchange.piece()) is not None:
                body += piece
                _check_size(body)
        except BaseException:
            exchange.close()
            raise
        closes = (head.header(b"connection") or b"").lower() == b"close"
        if exchange.is_complete and not closes and len(self._kept) < self._connections:
            self._kept.append(exchange)
        else:
            exchange.close()
        return ApiResponse(head.status, bytes(body))

    def _encode(self, request: ApiRequest) -> bytes:
        server, token = self._server, self._server.token()
        authorization = b"" if token is None else b"Authorization: Bearer %b\r\n" % token.reveal().encode("ascii")
        host = f"[{server.host}]" if ":" in server.host else server.host
        content = b"Content-Type: %b\r\nContent-Length: %d\r\n" % (request.content_type, len(request.body))
        return b"%b %b HTTP/1.1\r\nHost: %b:%d\r\nUser-Agent: wisp\r\nAccept: %b\r\n%b%b\r\n%b" % (
            request.method,
            (server.path_prefix + request.path).encode("ascii"),
            host.encode("ascii"),
            server.port,
            request.accept,
            authorization,
            content if request.body else b"",
            request.body,
        )


@contextmanager
def _as_unavailable() -> Iterator[None]:
    """Turn errors of sockets, TLS and credentials into ApiUnavailableError."""
    try:
        yield
    except TimeoutError:
        raise ApiUnavailableError("it did not answer in time") from None
    except ssl.SSLCertVerificationError as error:
        raise ApiUnavailableError(f"its certificate is not trusted: {error.verify_message}") from None
    except (OSError, ValueError) as error:  # ValueError: a file that holds no token
        reason = str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        raise ApiUnavailableError(reason.lower()) from None


async def _lines(exchange: _Exchange, first: bytes) -> AsyncGenerator[bytes, None]:
    """Give each line of a body, without its end."""
    piece: bytes | None = first
    unfinished = bytearray()
    while piece is not None:
        end, *starts = piece.split(b"\n")
        unfinished += end
        for start in starts:
            yield bytes(unfinished)
            unfinished = bytearray(start)
        _check_size(unfinished)
        piece = await exchange.piece()


def _check_size(body: bytearray) -> None:
    if len(body) > _LARGEST_BODY:
        raise ApiUnavailableError(f"its answer is larger than {_LARGEST_BODY} bytes")
