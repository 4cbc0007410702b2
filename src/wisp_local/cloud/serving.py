"""The listening process: a socket, TLS from the cloud's own CA, uvicorn around the application, and signals."""

import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

import uvicorn
from starlette.types import ASGIApp

from wisp.base.errors import SettingError
from wisp.base.files import write_atomically
from wisp.base.x509 import CertifiedKey
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.arm.handler import OPERATION_SECONDS, WRITE_SECONDS
from wisp_local.cloud.entra.audiences import PUBLIC, AzureCloud
from wisp_local.cloud.entra.claims import DEFAULT_LIFETIME
from wisp_local.cloud.issuer_keys import HttpsFetch, RemoteIssuers
from wisp_local.cloud.names import is_host, is_issuer_url
from wisp_local.cloud.page.guard import is_this_machine
from wisp_local.cloud.seeding import apply_seed, load_seed
from wisp_local.cloud.state.store import Store

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


_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 -- recognised, not bound


@dataclass(frozen=True)
class Settings:
    """How to serve the cloud kept in `state`.

    `port` 0 picks a free one, the same on all `hosts`; `advertise` are the names and addresses that clients use, the
    first of them in URLs; `token_lifetime` is in seconds; `issuer_ca` is trusted for issuers elsewhere, besides the
    system's authorities; `quiet` leaves out the log line of each request; `issuer_bases` are base URLs that its issuers
    are known by as well, though nobody need answer there; `seed` is a file of what is to be there first; a cluster
    takes `operation_seconds` to be made, changed or deleted, a federated credential `write_seconds` to be written
    (another write to the same identity meanwhile is a conflict) and `propagation` seconds until it is heard of; `page`
    serves the web page on all addresses or on none, by default on loopback ones only; tokens can be requested for the
    services of `azure_cloud`.
    """

    state: Path
    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 8443
    advertise: tuple[str, ...] = ()
    token_lifetime: int = DEFAULT_LIFETIME
    issuer_ca: Path | None = None
    quiet: bool = False
    issuer_bases: tuple[str, ...] = ()
    seed: Path | None = None
    operation_seconds: float = OPERATION_SECONDS
    write_seconds: float = WRITE_SECONDS
    propagation: float = 0
    page: bool | None = None
    azure_cloud: AzureCloud = PUBLIC

    @property
    def has_page(self) -> bool:
        """Whether the web page is served, on whatever address."""
        return bool(self.page_hosts)

    @property
    def page_hosts(self) -> tuple[str, ...]:
        """On which of the hosts the web page is served."""
        if self.page is None:
            return tuple(each for each in self.hosts if each == "localhost" or is_this_machine(each))
        return self.hosts if self.page else ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name and address the certificate is for, the one of the base URL first."""
        bound = (each for each in self.hosts if each not in _ANYWHERE)
        return tuple(dict.fromkeys((*self.advertise, *bound, *_LOOPBACK)))

    @property
    def ca_file(self) -> Path:
        """Where the CA's certificate is written for clients to trust."""
        return self.state.with_name(f"{self.state.name}.ca.pem").absolute()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; prints one JSON line when it listens. Raises `WispError` when it cannot."""
    _check_names(settings.names)
    _check_bases(settings.issuer_bases)
    seed = None if settings.seed is None else load_seed(settings.seed)
    elsewhere = RemoteIssuers(HttpsFetch(settings.issuer_ca), time.monotonic)
    with Store(settings.state) as store, listen_on(settings.hosts, settings.port) as listeners:
        port = listeners[0].getsockname()[1]
        url, *aliases = [*(base_url(each, port) for each in settings.names), *settings.issuer_bases]
        if seed is not None:
            apply_seed(seed, store, url)
        store.subscription()  # what a client needs first is there before it can ask
        store.issuers.token_keys()
        _write_authority(settings.ca_file, store.authority.certificate_pem)
        log = _no_line if settings.quiet else _error_line
        options = Options(
            aliases,
            elsewhere,
            settings.token_lifetime,
            log,
            operation_seconds=settings.operation_seconds,
            write_seconds=settings.write_seconds,
            propagation=settings.propagation,
            page=settings.has_page,
            page_on_loopback_only=settings.page is None,
            azure_cloud=settings.azure_cloud,
        )
        app = create_app(store, url, options)
        tls = tls_context(store.authority.server_certificate(settings.names))
        run(app, listeners, tls, ready=lambda: _write_line(sys.stdout, _listening(url, port, settings)))


def _listening(url: str, port: int, settings: Settings) -> dict[str, object]:
    page = {"page": f"{base_url(_page_host(settings), port)}/"} if settings.has_page else {}
    return {"event": "listening", "url": url, "authority_host": f"{url}/", "ca_file": str(settings.ca_file), **page}


def _page_host(settings: Settings) -> str:
    """Return the host that the page's address names: that of the cloud's own URL where the page is there, too."""
    return settings.names[0] if settings.page or settings.page_hosts == settings.hosts else settings.page_hosts[0]


def _check_names(names: tuple[str, ...]) -> None:
    for each in names:
        if not is_host(each):
            raise SettingError(f"{each!a} is no host name or IP address", hint="correct --host or --advertise")


def _check_bases(bases: tuple[str, ...]) -> None:
    for each in bases:
        if not is_issuer_url(each) or each.endswith("/"):
            hint = "give --issuer-base an https URL without a slash at its end"
            raise SettingError(f"{each!a} is no base URL", hint=hint)


def _write_authority(path: Path, pem: bytes) -> None:
    """Write the certificate whole or not at all: clients may be reading it."""
    try:
        write_atomically(path, pem, mode=0o644)  # a certificate is public, and the pods' processes are other users
    except OSError as error:
        raise SettingError(
            f"the CA's certificate cannot be written to {path} ({error.strerror})", hint="make its folder writable"
        ) from error


def _error_line(record: Mapping[str, object]) -> None:
    _write_line(sys.stderr, record)


def _no_line(record: Mapping[str, object]) -> None:
    """Take the record and say nothing."""


def _write_line(stream: TextIO, record: Mapping[str, object]) -> None:
    """Write one JSON line; a reader that has gone away must not take the server with it."""
    with contextlib.suppress(OSError):
        stream.write(f"{json.dumps(record)}\n")
        stream.flush()
