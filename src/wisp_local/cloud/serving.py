"""A local cloud as a process: from its settings, through sockets, TLS and uvicorn, to the last request."""

import contextlib
import functools
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from wisp.base.errors import SettingError
from wisp.base.files import write_atomically
from wisp.base.x509 import CertifiedKey
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.arm.handler import OPERATION_SECONDS, WRITE_SECONDS
from wisp_local.cloud.entra.audiences import PUBLIC, AzureCloud
from wisp_local.cloud.entra.claims import DEFAULT_LIFETIME
from wisp_local.cloud.https import HttpsFetch, present, trust
from wisp_local.cloud.issuer_keys import RemoteIssuers
from wisp_local.cloud.names import is_host, is_issuer_url
from wisp_local.cloud.page.guard import is_this_machine
from wisp_local.cloud.seed import apply_seed, load_seed
from wisp_local.cloud.state.store import Store
from wisp_local.cloud.web import write_line

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 -- recognised, not bound
_GRACE = 2  # seconds that requests in flight have after SIGTERM


@dataclass(frozen=True)
class Settings:
    """How to serve the cloud whose state is the file `state`.

    `port` 0 picks a free one, the same on all `hosts`; `advertise` are the names and addresses that clients use, the
    first of them in URLs; `token_lifetime` is in seconds; `issuer_ca` is trusted for issuers elsewhere, in addition to
    the system's authorities; `quiet` leaves out the log line of each request; `issuer_bases` are further base URLs of
    its issuers, at which nothing needs to answer; `seed` is a file of objects to create first; a cluster takes
    `operation_seconds` to be created, changed or deleted, a federated credential `write_seconds` to be written (another
    write to the same identity meanwhile is a conflict) and `propagation` seconds until it is known; `page` serves the
    web page on all addresses or on none, by default on loopback ones only; tokens can be requested for the services of
    `azure_cloud`.
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
        """Whether the web page is served on any address."""
        return bool(self.page_hosts)

    @property
    def page_hosts(self) -> tuple[str, ...]:
        """The hosts on which the web page is served."""
        if self.page is None:
            return tuple(host for host in self.hosts if host == "localhost" or is_this_machine(host))
        return self.hosts if self.page else ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name and address the certificate is for, the one of the base URL first."""
        bound = (host for host in self.hosts if host not in _ANY_ADDRESS)
        return tuple(dict.fromkeys((*self.advertise, *bound, *_LOOPBACK)))

    @property
    def ca_file(self) -> Path:
        """The file that the CA's certificate is written to for clients to trust."""
        return self.state.with_name(f"{self.state.name}.ca.pem").absolute()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; prints one JSON line when it listens. Raises `WispError` when it cannot."""
    _check(settings)
    seed = None if settings.seed is None else load_seed(settings.seed)
    elsewhere = RemoteIssuers(HttpsFetch(trust(settings.issuer_ca)), time.monotonic)
    with Store(settings.state) as store, listen_on(settings.hosts, settings.port) as listeners:
        port = listeners[0].getsockname()[1]
        url, *aliases = [*(base_url(name, port) for name in settings.names), *settings.issuer_bases]
        if seed is not None:
            apply_seed(seed, store, url)
        store.subscription()  # clients need these first, so they exist before a client can ask
        store.issuers.token_keys()
        _write_authority(settings.ca_file, store.authority.certificate_pem)
        options = Options(
            aliases,
            elsewhere,
            settings.token_lifetime,
            None if settings.quiet else functools.partial(write_line, sys.stderr),
            operation_seconds=settings.operation_seconds,
            write_seconds=settings.write_seconds,
            propagation=settings.propagation,
            page=settings.has_page,
            page_on_loopback_only=settings.page is None,
            azure_cloud=settings.azure_cloud,
        )
        app = create_app(store, url, options)
        tls = tls_context(store.authority.server_certificate(settings.names))
        _run(app, listeners, tls, ready=lambda: write_line(sys.stdout, _listening(url, port, settings)))


def _check(settings: Settings) -> None:
    for name in settings.names:
        if not is_host(name):
            raise SettingError(f"{name!a} is not a host name or IP address", hint="correct --host or --advertise")
    for url in settings.issuer_bases:
        if not is_issuer_url(url) or url.endswith("/"):
            hint = "give --issuer-base an https URL without a slash at its end"
            raise SettingError(f"{url!a} is not a base URL", hint=hint)


def _listening(url: str, port: int, settings: Settings) -> dict[str, object]:
    record = {"event": "listening", "url": url, "authority_host": f"{url}/", "ca_file": str(settings.ca_file)}
    if settings.has_page:
        # The address of the cloud's own URL where the page is on all of them.
        everywhere = settings.page or settings.page_hosts == settings.hosts
        host = settings.names[0] if everywhere else settings.page_hosts[0]
        record["page"] = f"{base_url(host, port)}/"
    return dict(record)


def _write_authority(path: Path, pem: bytes) -> None:
    try:
        write_atomically(path, pem, mode=0o644)  # a certificate is public, and the pods' processes are other users
    except OSError as error:
        problem = f"the CA's certificate cannot be written to {path} ({error.strerror})"
        raise SettingError(problem, hint="make its folder writable") from error


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises `SettingError` when the address is not available."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return _bound(family, address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such host"
        problem = f"cannot listen on port {port} of {host} ({reason})"
        raise SettingError(problem, hint="choose another --host or --port") from error


@contextlib.contextmanager
def listen_on(hosts: Sequence[str], port: int) -> Iterator[list[socket.socket]]:
    """Listen on the same port of every host, for as long as the block lasts; raises `SettingError`."""
    with contextlib.ExitStack() as stack:
        listeners: list[socket.socket] = []
        for host in hosts:
            shared_port = listeners[0].getsockname()[1] if listeners else port
            listeners.append(stack.enter_context(listen(host, shared_port)))
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
    """Write the URL as clients will: IPv6 addresses in brackets, no port if it is 443."""
    name = f"[{host}]" if ":" in host else host
    return f"https://{name}" if port == 443 else f"https://{name}:{port}"


def tls_context(certified: CertifiedKey) -> ssl.SSLContext:
    """Return a server context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    present(context, certified.key_pem + certified.certificate_pem)
    return context


class _Server(uvicorn.Server):
    """uvicorn with a callback when it listens, and exit status 0 after a signal."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then call back."""
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drop idle connections first: a TLS client that does not read would keep its connection, and us, waiting."""
        if not self.server_state.tasks:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        await super().shutdown(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- uvicorn's signature
        """Exit gracefully, at once on a second Ctrl-C; uvicorn would exit with the signal's status, not with 0."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _run(app: ASGIApp, listeners: list[socket.socket], tls: ssl.SSLContext, ready: Callable[[], None]) -> None:
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
