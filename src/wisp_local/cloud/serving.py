"""The listening process: a socket, TLS from the cloud's own CA, uvicorn around the application, and signals."""

import contextlib
import os
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from wisp.base.errors import SettingError
from wisp.base.x509 import CertifiedKey

_GRACE = 2  # seconds that requests in flight have after SIGTERM


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises `SettingError` when the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return _bound(family, address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such host"
        raise SettingError(
            f"cannot listen on port {port} of {host} ({reason})", hint="choose another --host or --port"
        ) from error


@contextlib.contextmanager
def listen_on(hosts: Sequence[str], port: int) -> Iterator[list[socket.socket]]:
    """Listen on the same port of every host, for as long as the block lasts; raises `SettingError`."""
    with contextlib.ExitStack() as stack:
        listeners: list[socket.socket] = []
        for host in hosts:
            taken = listeners[0].getsockname()[1] if listeners else port
            listeners.append(stack.enter_context(listen(host, taken)))
        yield listeners


def _bound(family: int, address: tuple[str | int | bytes, ...]) -> socket.socket:
    # Without the protocol asyncio does not recognise TCP, leaves Nagle's algorithm on, and every answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    return listener


def base_url(host: str, port: int) -> str:
    """Write the URL as clients will: IPv6 addresses in brackets, no port where it is https' own."""
    name = f"[{host}]" if ":" in host else host
    return f"https://{name}" if port == 443 else f"https://{name}:{port}"


def tls_context(certified: CertifiedKey) -> ssl.SSLContext:
    """Return a server context; the key touches a private temporary file, as ssl reads keys from files only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    descriptor, name = tempfile.mkstemp(prefix="wisp-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certified.key_pem + certified.certificate_pem)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
    return context


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, and that a signal ends with status 0."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drop idle connections first: a TLS client that does not read would keep its connection, and us, waiting."""
        if not self.server_state.tasks:
            for each in list(self.server_state.connections):
                each.transport.abort()
        await super().shutdown(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- uvicorn's signature
        """End in good order, a second Ctrl-C at once; uvicorn itself would end with the signal's status, not with 0."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def run(app: ASGIApp, listeners: list[socket.socket], tls: ssl.SSLContext, ready: Callable[[], None]) -> None:
    """Serve `app` on `listeners` until SIGTERM or SIGINT; calls `ready` once connections are accepted."""
    config = uvicorn.Config(
        app,
        ssl_context_factory=lambda config, default: tls,  # noqa: ARG005 -- uvicorn's signature
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    _Server(config, ready).run(sockets=listeners)
