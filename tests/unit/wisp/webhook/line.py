"""A listener in the test's process with a fixed clock, an application that echoes, and clients."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable

from tests.support.certificates import server_certificate
from tests.support.waiting import PATIENCE, wait_until_async
from tests.unit.wisp.webhook.process import SERVICE
from wisp.http.asyncio_process import TIMES
from wisp.http.asyncio_server import AsyncioServer, bind
from wisp.http.connection import Limits
from wisp.http.messages import TEXT, Reject, Request, Response
from wisp.http.tls import Presented

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 4_000_000
"""Bytes of a response that no socket buffer takes whole."""


class Echo:
    """Answers with the path or with many bytes, at once or later."""

    def __init__(self) -> None:
        self.later: asyncio.Future[Response] | None = None
        self.answered: list[bytes] = []
        self.sources: list[str] = []

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer."""
        self.answered.append(request.target)
        self.sources.append(request.source)
        body = bytes(LARGE) if request.target == b"/large" else request.target
        return Response(200, body, TEXT) if self.later is None else asyncio.shield(self.later)

    def rejected(self, reject: Reject) -> Response:
        """Answer."""
        return Response(reject.status, reject.reason.encode(), TEXT)


class Client:
    """The other end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send."""
        self.writer.write(data)

    async def response(self) -> tuple[int, bytes]:
        """Read one response; return its status and body."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return int(head.split(b" ")[1]), await self.reader.readexactly(length)

    async def get(self, number: int = 1) -> None:
        """Send one request and read its response."""
        self.send(GET % number)
        assert await self.response() == (200, b"/%d" % number)

    async def ended(self) -> bytes:
        """Read until the server closes the connection; return what it sent before."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                return await self.reader.read()
        return b""


class Line:
    """A listener with a fixed clock, and its clients."""

    def __init__(self, limits: Limits, tls: Presented | None, address: str) -> None:
        self.now = 0.0
        self.application = Echo()
        self.server = AsyncioServer(
            bind(address, 0),
            self.application,
            limits=limits._replace(body=300_000, times=TIMES),
            clock=lambda: self.now,
            tls=None if tls is None else tls.context,
        )
        self.server.open()
        self.clients: list[Client] = []

    async def connect(self, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Client:
        """Connect."""
        name = None if tls is None else SERVICE
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, local_addr=(source, 0), ssl=tls, server_hostname=name
        )
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def begin(self, data: bytes, source: str = "127.0.0.1") -> Client:
        """Connect, send the beginning of a request, and wait until it is there."""
        client = await self.connect(source)
        before = self.server.host.held, len(self.application.answered)
        client.send(data)
        await wait_until_async(lambda: (self.server.host.held, len(self.application.answered)) != before)
        return client

    def later(self, seconds: float) -> None:
        """Let time pass, and end what is late."""
        self.now += seconds
        self.server.end_late()

    def close(self) -> None:
        """Hang up, everywhere."""
        if not self.server.host.closing:
            self.server.close()
        for client in self.clients:
            client.writer.transport.abort()
        for peer in list(self.server.peers.values()):
            peer.close()


@contextlib.asynccontextmanager
async def listening(
    connections: int = 3,
    per_source: int = 0,
    held: int = 2**20,
    tls: Presented | None = None,
    address: str = "127.0.0.1",
) -> AsyncIterator[Line]:
    """Run a listener."""
    line = Line(Limits(connections, per_source, held), tls, address)
    try:
        yield line
    finally:
        line.close()


def presented(client_ca: str | None = None, *, minimum: str = "1.3") -> tuple[Presented, ssl.SSLContext]:
    """Return the server's TLS with a certificate, and a client's that trusts it."""
    certificate = server_certificate(SERVICE)
    server = Presented(minimum, client_ca)
    server.show(certificate.chain, certificate.key)
    return server, ssl.create_default_context(cadata=certificate.ca.decode())
