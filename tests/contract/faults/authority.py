"""An authority that is faulty below HTTP too: ports, certificates, names, handshakes, connections."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from tests.support.waiting import PATIENCE
from tests.unit.wisp.proxy.authority import Authority, Behaviour, Post, grants
from wisp.base.x509 import CertifiedKey
from wisp_local.cloud.serving import tls_context
from wisp_local.cloud.state.authority import new_authority, new_server_certificate

Greeting: TypeAlias = Callable[[socket.socket], bool]
"""What to do with a connection before TLS; False: nothing more is done with it."""

DAY = 86400.0
NAMES = ("127.0.0.1", "login.test")
"""The second is known to forward proxies only."""


def welcome(_: socket.socket) -> bool:
    """Go on with TLS."""
    return True


def reset(connection: socket.socket) -> bool:
    """Send a TCP reset as the connection is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def speak_plainly(connection: socket.socket) -> bool:
    """Be something else than a TLS server."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    return False


def hang_up_on_hello(connection: socket.socket) -> bool:
    """Close the connection in the middle of the handshake."""
    connection.recv(65536)
    return False


class FaultyAuthority(Authority):
    """An authority whose certificate is for `names`; `greet` may be changed at any time, the certificate too."""

    def __init__(
        self, folder: Path, behaviour: Behaviour = grants, *, names: tuple[str, ...] = NAMES, port: int = 0
    ) -> None:
        self._names = names
        self.greet: Greeting = welcome
        self.arrivals = 0
        self.server_names: list[str | None] = []
        self.released = threading.Event()
        super().__init__(folder, behaviour, port=port)
        self._port = self._listener.getsockname()[1]
        self._hole: list[socket.socket] = []
        self._note_names()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self.fix()
        super().__exit__(kind, error, trace)

    def _certified(self) -> CertifiedKey:
        return new_server_certificate(self._authority, self._names, time.time())

    @property
    def distant_url(self) -> str:
        """Where it is for those behind a forward proxy."""
        return f"https://{NAMES[1]}:{self._port}/"

    @property
    def calls(self) -> int:
        """How often it was called: connections that came to nothing, requests on those that did not."""
        return max(len(self.posts), self.arrivals)

    def forget(self) -> None:
        """Count calls from now on."""
        self.posts.clear()
        self.arrivals = 0

    def fix(self) -> None:
        """Be as it should be again."""
        self.behaviour = grants
        self.greet = welcome
        self.released.set()
        self.listen()
        self.ca_file.write_bytes(self._authority.certificate_pem)
        self.present(self._certified())

    def present(self, certified: CertifiedKey) -> None:
        """Show this certificate from now on."""
        self._context = tls_context(certified)
        self._note_names()

    def present_aged(self, days: float) -> None:
        """Show a certificate of its own that was made so long ago."""
        self.present(new_server_certificate(self._authority, self._names, time.time() - days * DAY))

    def present_of(self, authority: CertifiedKey, *names: str) -> None:
        """Show one that another authority signed, or that is for other names."""
        self.present(new_server_certificate(authority, names or self._names, time.time()))

    def present_another_name(self) -> None:
        """Show one for a name that it is not called by."""
        self.present_of(self._authority, "elsewhere.test")

    def let_authority_expire(self) -> None:
        """Be signed by an authority that is trusted and has expired."""
        authority = new_authority(time.time() - 5000 * DAY)
        self.ca_file.write_bytes(authority.certificate_pem)
        self.present_of(authority)

    def listen(self) -> None:
        """Listen again, if it does not."""
        for each in self._hole:
            each.close()
        self._hole = []
        if self._listener.fileno() == -1:
            self._listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
            self._start(self._accept)

    def deafen(self) -> None:
        """Let connections be refused."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def swallow(self) -> None:
        """Let connections come to nothing, as behind a firewall that drops packets: the queue for them is full."""
        self.deafen()
        hole = socket.socket()
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind(("127.0.0.1", self._port))
        hole.listen(0)
        self._hole = [hole]
        for _ in range(2):
            filler = socket.socket()
            filler.settimeout(0)
            filler.connect_ex(("127.0.0.1", self._port))
            self._hole.append(filler)

    def hang(self, _: object) -> bool:
        """Greet with silence."""
        self.released.wait(PATIENCE)
        return False

    def hang_on(self, _: Post) -> None:
        """Answer with silence."""
        self.released.wait(PATIENCE)

    def _note_names(self) -> None:
        self._context.sni_callback = self._note_name

    def _note_name(self, _socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self.server_names.append(name)

    def _serve(self, connection: socket.socket) -> None:
        self.arrivals += 1
        with contextlib.suppress(OSError):
            if self.greet(connection):
                super()._serve(connection)
        connection.close()
