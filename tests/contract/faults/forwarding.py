"""A hand-written forward proxy: it tunnels, rejects or breaks."""

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeAlias

from tests.support.waiting import PATIENCE

Treatment: TypeAlias = Callable[[socket.socket, str], None]
"""What to do with a connection whose request head was read."""


def tunnels(connection: socket.socket, head: str) -> None:
    """Connect to the requested host and forward both directions; names under .test resolve to loopback."""
    host, _, port = head.split(" ", 2)[1].rpartition(":")
    with socket.create_connection(("127.0.0.1" if host.endswith(".test") else host, int(port))) as other:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        _splice(connection, other)


def tunnels_and_notices_late(connection: socket.socket, head: str) -> None:
    """Do the same, but close the connection only when the client sends more after the server's end."""
    tunnels(connection, head)
    connection.recv(65536)


def says(text: bytes) -> Treatment:
    """Send this answer and close the connection."""
    return lambda connection, _: connection.sendall(text)


def wants(authorization: str) -> Treatment:
    """Accept clients that send these credentials, and ask the others for them."""

    def treat(connection: socket.socket, head: str) -> None:
        if f"proxy-authorization: {authorization}\r\n".lower() in head.lower():
            tunnels(connection, head)
        else:
            connection.sendall(b"HTTP/1.1 407 no entry for user:hunter2\r\nContent-Length: 0\r\n\r\n")

    return treat


class FakeForwardProxy:
    """Listen at `address` until the block ends."""

    def __init__(self, treatment: Treatment = tunnels, tls: ssl.SSLContext | None = None) -> None:
        self.treatment = treatment
        self.heads: list[str] = []
        self.released = threading.Event()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def hang(self, _connection: socket.socket, _head: str) -> None:
        """Send nothing on a connection."""
        self.released.wait(PATIENCE)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            with connection:
                head = _head(connection)
                self.heads.append(head)
                self.treatment(connection, head)


def _head(connection: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        received = connection.recv(1)
        if not received:
            break
        data += received
    return data.decode()


def _splice(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                data = source.recv(65536)
                while isinstance(source, ssl.SSLSocket) and source.pending():
                    data += source.recv(65536)
                if not data:
                    return
                key.data.sendall(data)
