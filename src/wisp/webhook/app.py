"""The webhook's process: connect its parts, report whether all are ready, and drain at SIGTERM or SIGINT."""

import asyncio
import dataclasses
import gc
import signal
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from wisp import __version__
from wisp.admission.policy import NativeSidecar, Policy, parse_version
from wisp.admission.types import MAX_REVIEW
from wisp.base.errors import SettingError
from wisp.base.log import Log
from wisp.certificates.controller import CertificateController, CertificateSpec, Stores
from wisp.certificates.decision import Lifetimes
from wisp.certificates.files import CertificateFiles
from wisp.certificates.issuer import IssuerProcess, Subject
from wisp.certificates.store import CertificateSecret
from wisp.http.asyncio_server import AsyncioServer, bind, keep_deadlines
from wisp.http.connection import Limits, Times
from wisp.http.health import Health
from wisp.http.tls import Presented
from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.config import ApiServer
from wisp.kubernetes.types import ApiRequest, ApiUnavailableError, Requester
from wisp.kubernetes.watch import ChangeNotifier, Watcher, random_pause
from wisp.webhook.accounts import SERVICE_ACCOUNTS, ServiceAccounts
from wisp.webhook.metrics import Gauges, WebhookMetrics
from wisp.webhook.publication import WebhookConfiguration
from wisp.webhook.reviews import Reviews

TIMES = Times(message=10.0, answer=30.0, idle=180.0)
"""Seconds. API servers close idle connections after 90 seconds; with a longer time here, that is left to them, and no
review arrives on a connection that is being closed."""
_DRAIN_SECONDS = 10.0
"""Time at the end for requests that are being answered."""
_VERSION_INTERVAL = 600.0
"""Seconds between reads of the API server's version: clusters are upgraded while the webhook runs."""

# A TLS handshake takes up to 61 KiB (OpenSSL 3.0), an idle TLS connection 17 KiB, or 33 KiB with a part of a record.
# Both numbers of connections together stay below 1,024, the limit of file descriptors in many containers.
REVIEW_CONNECTIONS = 512
REVIEW_BYTES = 16 * 1024 * 1024
HEALTH_CONNECTIONS = 256
HEALTH_BYTES = 1024 * 1024
_HEALTH_BUFFER = 8 * 1024


@dataclass(frozen=True, kw_only=True)
class WebhookOptions:
    """The options of the process; times are in seconds."""

    address: str = "::"
    port: int = 9443
    health_address: str = "::"
    health_port: int = 9440
    namespace: str
    service_name: str = "wisp-webhook"
    configuration: str = "wisp-webhook"
    secret: str = "wisp-webhook-certificate"  # noqa: S105 -- a name
    certificate_dir: Path | None = None
    tls_min_version: str = "1.3"
    client_ca: Path | None = None
    """PEM file with the CAs of the client certificates that API servers must present."""
    lifetimes: Lifetimes = field(default=Lifetimes())
    connections_per_source: int = 256
    """Connections of one source address to each port; 0: no limit."""
    shutdown_delay: float = 5.0
    """How long to serve after SIGTERM, until the Service no longer sends requests here."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which API servers call the Service, and those of its certificate."""
        base = f"{self.service_name}.{self.namespace}"
        return self.service_name, base, f"{base}.svc", f"{base}.svc.cluster.local"


class ServerVersion:
    """The API server's version, on which it depends whether sidecars are native ones; read again now and then."""

    def __init__(self, api: Requester, on_change: Callable[[tuple[int, int]], None], log: Log) -> None:
        self._api = api
        self._on_change = on_change
        self._log = log
        self.known: tuple[int, int] | None = None

    async def run(self) -> None:
        """Read the version, indefinitely."""
        failures = 0
        while True:
            try:
                await self.read()
                failures = 0
            except (ApiUnavailableError, SettingError) as error:
                failures += 1
                self._log.warning("API server's version unknown", reason=str(error))
            await asyncio.sleep(random_pause(failures) if self.known is None else _VERSION_INTERVAL)

    async def read(self) -> None:
        """Read it once. Raise ApiUnavailableError, or SettingError if the answer is not a version."""
        response = await self._api.request(ApiRequest("/version"))
        try:
            version = parse_version(msgspec.json.decode(response.body, type=_Version).gitVersion)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ApiUnavailableError(f"/version: HTTP {response.status}") from None
        if version != self.known:
            self.known = version
            self._on_change(version)
            self._log.info("API server's version", version=f"{version[0]}.{version[1]}")


class _Version(msgspec.Struct):
    gitVersion: str  # noqa: N815 -- the API's name


class Webhook:
    """One webhook process."""

    def __init__(self, options: WebhookOptions, server: ApiServer, policy: Policy, log: Log) -> None:
        self._options = options
        self._log = log
        self._policy = policy
        self.metrics = WebhookMetrics()
        self._api = ApiClient(server)
        self._accounts = ServiceAccounts(self._api)
        self._presented = _presented(options)
        self._reviews = Reviews(self._accounts, policy, self.metrics, log)
        self._version = ServerVersion(self._api, self._use_version, log)
        self._stopping = asyncio.Event()
        self._secret = CertificateSecret(
            self._api, namespace=options.namespace, name=options.secret, managed_by="wisp-webhook"
        )
        self._configuration = WebhookConfiguration(self._api, options.configuration)
        self._certificates = self._certificate_source()
        self._listeners = self._listen()

    async def run(self) -> None:
        """Serve until a signal arrives."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in self._coroutines()]
            for server in self._listeners:
                server.open()
            reviews, health = self._listeners
            self._log.info("listening", port=reviews.port, health_port=health.port, version=__version__)
            gc.collect()
            gc.freeze()  # what exists now is permanent: the collector need not examine it again
            await self._stopping.wait()
            await self._drain()
            for task in tasks:
                task.cancel()
        self._api.close()

    def not_ready(self) -> list[str]:
        """Return the reasons why the webhook is not ready."""
        ready = {
            "stopping": not self._stopping.is_set(),
            "no certificate yet": self._presented.ready,
            "the CA bundle is not in place": self._certificates.is_trusted,
            "the service accounts have not been listed yet": self._accounts.synced,
            "the API server's version is not known yet": self._version.known is not None or not self._needs_version,
        }
        return [reason for reason, is_ready in ready.items() if not is_ready]

    @property
    def _needs_version(self) -> bool:
        return self._policy.server_version is None and self._policy.native_sidecar is NativeSidecar.AUTO

    def _use_version(self, version: tuple[int, int]) -> None:
        self._reviews.policy = dataclasses.replace(self._policy, server_version=version)

    def _count_restart(self, resource: str, reason: str) -> None:
        self.metrics.watch_restarts[resource] += 1
        self._log.warning("watch restarted", resource=resource, reason=reason)

    def _certificate_source(self) -> CertificateController | CertificateFiles:
        options, issuer = self._options, IssuerProcess()
        if options.certificate_dir is not None:
            return CertificateFiles(options.certificate_dir, issuer, self._presented, self._log)
        spec = CertificateSpec(Subject("wisp webhook", options.names), options.lifetimes, time.time)
        return CertificateController(
            Stores(self._secret, self._configuration), issuer, self._presented, spec, self._log
        )

    def _listen(self) -> tuple[AsyncioServer, AsyncioServer]:
        options = self._options
        reviews = AsyncioServer(
            bind(options.address, options.port),
            self._reviews,
            limits=Limits(REVIEW_CONNECTIONS, options.connections_per_source, REVIEW_BYTES, MAX_REVIEW, TIMES),
            tls=self._presented.context,
        )
        health = AsyncioServer(
            bind(options.health_address, options.health_port, buffer=_HEALTH_BUFFER),
            Health(self.not_ready, self._render_metrics),
            limits=Limits(HEALTH_CONNECTIONS, options.connections_per_source, HEALTH_BYTES, times=TIMES),
        )
        return reviews, health

    def _coroutines(self) -> Iterator[Coroutine[None, None, None]]:
        yield keep_deadlines(self._listeners)
        yield Watcher(self._api, SERVICE_ACCOUNTS, self._accounts, self._count_restart).run()
        yield self._certificates.run()
        if self._needs_version:
            yield self._version.run()
        if isinstance(self._certificates, CertificateController):
            notifier = ChangeNotifier(self._certificates.wake)
            for resource in (self._secret.resource, self._configuration.resource):
                yield Watcher(self._api, resource, notifier, self._count_restart).run()

    def _render_metrics(self) -> bytes:
        reviews, health = self._listeners
        gauges = Gauges(
            certificate_failures=self._certificates.failures,
            accounts=len(self._accounts),
            account_reads=self._accounts.reads,
            connections=len(reviews.peers),
            connections_closed={"reviews": reviews.closed, "health": health.closed},
            certificate_expiry=self._certificates.expires_at,
            ready=not self.not_ready(),
        )
        return self.metrics.render(gauges)

    async def _drain(self) -> None:
        """Report not ready while requests still arrive and are answered; then finish those that have arrived."""
        self._log.info("stopping")
        reviews, health = self._listeners
        reviews.host.closing = True
        await asyncio.sleep(self._options.shutdown_delay)
        reviews.close()
        await reviews.drain(_DRAIN_SECONDS)
        health.close()
        await health.drain(1.0)
        self._log.info("stopped")


def _presented(options: WebhookOptions) -> Presented:
    path = options.client_ca
    if path is None:
        return Presented(options.tls_min_version)
    try:
        return Presented(options.tls_min_version, path.read_bytes().decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        reason = "it does not hold a CA certificate in PEM format"
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    raise SettingError(
        f"cannot use --client-ca {str(path)!r}: {reason}",
        hint="give a PEM file with the certificates of the CAs that issue the API servers' client certificates",
    )


def run(options: WebhookOptions, server: ApiServer, policy: Policy, log: Log) -> None:
    """Run the webhook on uvloop. Raise SettingError if it cannot listen."""
    import uvloop  # noqa: PLC0415 -- only the server needs it

    async def main() -> None:
        await Webhook(options, server, policy, log).run()

    with suppress(KeyboardInterrupt):
        uvloop.run(main())
