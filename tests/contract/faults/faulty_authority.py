"""An authority that is faulty below HTTP too: ports, certificates, names, handshakes, connections."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.authority import Authority, Behaviour, Post, grants
from tests.support.waiting import PATIENCE
from wisp.base.x509 import CertifiedKey, certificate_pem
from wisp_local.cloud.serving import tls_context
from wisp_local.cloud.state.authority import new_authority, new_server_certificate

Greeting: TypeAlias = Callable[[socket.socket], bool]
"""What to do with a connection before TLS; the result is whether to continue with TLS."""

DAY = 86400.0
NAMES = ("127.0.0.1", "login.test")
"""Only forward proxies can resolve the second name."""


def welcome(_: socket.socket) -> bool:
    """Continue with TLS."""
    return True


def reset(connection: socket.socket) -> bool:
    """Send a TCP reset as the connection is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def speak_plainly(connection: socket.socket) -> bool:
    """Answer as a server without TLS."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    return False


def hang_up_on_hello(connection: socket.socket) -> bool:
    """Close the connection in the middle of the handshake."""
    connection.recv(65536)
    return False


class FaultyAuthority(Authority):
    """An authority whose certificate is for `names`; `greet` and the certificate may be changed at any time."""

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
        """The URL for clients behind a forward proxy."""
        return f"https://{NAMES[1]}:{self._port}/"

    @property
    def calls(self) -> int:
        """The number of calls: failed connections, and requests on the others."""
        return max(len(self.posts), self.arrivals)

    def forget(self) -> None:
        """Reset the number of calls."""
        self.posts.clear()
        self.arrivals = 0

    def fix(self) -> None:
        """End every fault."""
        self.behaviour = grants
        self.greet = welcome
        self.released.set()
        self.listen()
        self.ca_file.write_bytes(self._authority.certificate_pem)
        self.present(self._certified())

    def present(self, certified: CertifiedKey) -> None:
        """Present this certificate from now on."""
        self._context = tls_context(certified)
        self._note_names()

    def present_aged(self, days: float) -> None:
        """Present a certificate that was issued `days` ago."""
        self.present(new_server_certificate(self._authority, self._names, time.time() - days * DAY))

    def present_of(self, authority: CertifiedKey, *names: str) -> None:
        """Present a certificate of another authority, or for other names."""
        self.present(new_server_certificate(authority, names or self._names, time.time()))

    def present_another_name(self) -> None:
        """Present a certificate for another name."""
        self.present_of(self._authority, "elsewhere.test")

    def let_authority_expire(self) -> None:
        """Present a certificate of an authority that is trusted and has expired."""
        authority = new_authority(time.time())
        self.ca_file.write_bytes(certificate_pem(_expired(authority)))
        self.present_of(authority)

    def listen(self) -> None:
        """Listen again after `deafen` or `swallow`."""
        for filler in self._hole:
            filler.close()
        self._hole = []
        if self._listener.fileno() == -1:
            self._listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
            self._start(self._accept)

    def deafen(self) -> None:
        """Refuse connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def swallow(self) -> None:
        """Drop connection attempts, as a firewall does: the queue for them is full."""
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
        """Send nothing on a new connection."""
        self.released.wait(PATIENCE)
        return False

    def hang_on(self, _: Post) -> None:
        """Send no answer to a request."""
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


def _expired(authority: CertifiedKey) -> x509.Certificate:
    """Return the authority's certificate with the same key and name, but expired since a day."""
    certificate = authority.certificate
    builder = x509.CertificateBuilder(
        certificate.issuer,
        certificate.subject,
        certificate.public_key(),
        x509.random_serial_number(),
        certificate.not_valid_before_utc - timedelta(days=30),
        certificate.not_valid_before_utc - timedelta(days=1),
        list(certificate.extensions),
    )
    return builder.sign(authority.key, hashes.SHA256())
