"""Runs the webhook: puts the parts together, tells when all are ready, and ends in good order at SIGTERM or SIGINT."""

import asyncio
import dataclasses
import gc
import signal
import ssl
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wisp import __version__
from wisp.admission import limits
from wisp.admission.contract import NativeSidecar, Policy
from wisp.base.errors import SettingError
from wisp.base.log import Log
from wisp.http.asyncio_server import AsyncioServer, bind, keep_deadlines
from wisp.http.connection import Limits, Times
from wisp.http.tls import Presented
from wisp.kubernetes.client import Api
from wisp.kubernetes.config import Access
from wisp.kubernetes.watch import Watcher
from wisp.webhook.accounts import ACCOUNTS, Accounts
from wisp.webhook.certificates.certificate import Lives
from wisp.webhook.certificates.certifying import Certifier
from wisp.webhook.certificates.cluster import Cluster
from wisp.webhook.certificates.files import Files
from wisp.webhook.certificates.keeper import Keeper, Subject
from wisp.webhook.certificates.trigger import Trigger
from wisp.webhook.health import Health
from wisp.webhook.metrics import Gauges, Metrics
from wisp.webhook.reviews import Reviews
from wisp.webhook.version import Version

TIMES = Times(message=10.0, answer=30.0, idle=180.0)
"""API servers close idle connections after 90 seconds, so that a longer time leaves it to them, and no review meets a
connection that is being closed."""
_DRAIN = 10.0
"""Seconds that what is under way has at the end."""
# A TLS handshake takes up to 61 KiB (OpenSSL 3.0), an idle TLS connection 17 KiB, or 33 KiB with a part of a record.
# Both numbers of connections together stay below 1,024, the limit of file descriptors in many containers.
REVIEW_CONNECTIONS = 512
REVIEW_BYTES = 16 * 1024 * 1024
HEALTH_CONNECTIONS = 256
HEALTH_BYTES = 1024 * 1024
_HEALTH_BUFFER = 8 * 1024


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the process is told about itself; times are in seconds."""

    address: str = "::"
    port: int = 9443
    health_address: str = "::"
    health_port: int = 9440
    namespace: str
    service_name: str = "wisp-webhook"
    configuration: str = "wisp-webhook"
    secret: str = "wisp-webhook-certificate"  # noqa: S105 -- the name of one
    certificate_dir: Path | None = None
    tls_min_version: str = "1.3"
    client_ca: Path | None = None
    """CA certificates (PEM) for the certificates that clients must present."""
    lives: Lives = field(default=Lives())
    connections_per_source: int = 256
    """Connections of one source address to each port; 0: no limit."""
    shutdown_delay: float = 5.0
    """How long it goes on after SIGTERM while endpoints forget it."""

    @property
    def names(self) -> frozenset[str]:
        """The names by which API servers call the service, and those of its certificate."""
        base = f"{self.service_name}.{self.namespace}"
        return frozenset({self.service_name, base, f"{base}.svc", f"{base}.svc.cluster.local"})


def _presented(options: Options) -> Presented:
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


class Webhook:
    """The parts of one process, put together."""

    def __init__(self, options: Options, access: Access, policy: Policy, log: Log) -> None:
        self._options = options
        self._log = log
        self._policy = policy
        self.metrics = Metrics()
        self._api = Api(access)
        self._accounts = Accounts(self._api)
        self._presented = _presented(options)
        self._reviews = Reviews(self._accounts, policy, self.metrics, log)
        self._version = Version(self._api, self._learned, log)
        self._stopping = asyncio.Event()
        self._cluster = Cluster(
            self._api, namespace=options.namespace, secret=options.secret, configuration=options.configuration
        )
        self._keeper = self._certificates()
        self._listeners = self._listen()

    async def run(self) -> None:
        """Serve until a signal says to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in self._work()]
            for listening in self._listeners:
                listening.open()
            reviews, health = self._listeners
            self._log.info("listening", port=reviews.port, health_port=health.port, version=__version__)
            gc.collect()
            gc.freeze()  # what is here now stays: the collector need not look at it again and again
            await self._stopping.wait()
            await self._stop()
            for task in tasks:
                task.cancel()
        self._api.close()

    def restarted(self, kind: str, reason: str) -> None:
        """Count and tell that a watch broke."""
        self.metrics.watch_restarts[kind] += 1
        self._log.warning("watch restarted", resource=kind, reason=reason)

    def lacks(self) -> list[str]:
        """Return what is not ready."""
        states = {
            "stopping": not self._stopping.is_set(),
            "no certificate yet": self._presented.ready,
            "the CA bundle is not in place": self._keeper.in_place,
            "the service accounts are not all here yet": self._accounts.synced,
            "the API server's version is not known yet": self._version.known is not None or not self._asks_version,
        }
        return [lack for lack, there in states.items() if not there]

    @property
    def _asks_version(self) -> bool:
        return self._policy.server_version is None and self._policy.native_sidecar is NativeSidecar.AUTO

    def _learned(self, version: tuple[int, int]) -> None:
        self._reviews.policy = dataclasses.replace(self._policy, server_version=version)

    def _certificates(self) -> Keeper | Files:
        options, certifier = self._options, Certifier()
        if options.certificate_dir is not None:
            return Files(options.certificate_dir, certifier, self._presented, self._log)
        subject = Subject(options.names, options.lives, time.time)
        return Keeper(self._cluster, certifier, self._presented, subject, self._log)

    def _listen(self) -> tuple[AsyncioServer, AsyncioServer]:
        options = self._options
        reviews = AsyncioServer(
            bind(options.address, options.port),
            self._reviews,
            limits=Limits(REVIEW_CONNECTIONS, options.connections_per_source, REVIEW_BYTES, limits.BODY, TIMES),
            tls=self._presented.context,
        )
        health = AsyncioServer(
            bind(options.health_address, options.health_port, buffer=_HEALTH_BUFFER),
            Health(self.lacks, self._page),
            limits=Limits(HEALTH_CONNECTIONS, options.connections_per_source, HEALTH_BYTES, times=TIMES),
        )
        return reviews, health

    def _work(self) -> Iterator[Coroutine[None, None, None]]:
        yield keep_deadlines(self._listeners)
        yield Watcher(self._api, ACCOUNTS, self._accounts, self).run()
        yield self._keeper.run()
        if self._asks_version:
            yield self._version.run()
        if isinstance(self._keeper, Keeper):
            for kind in self._cluster.kinds():
                yield Watcher(self._api, kind, Trigger(self._keeper.wake), self).run()

    def _page(self) -> bytes:
        reviews, health = self._listeners
        gauges = Gauges(
            certificate_failures=self._keeper.failures,
            accounts=len(self._accounts),
            account_reads=self._accounts.reads,
            connections=len(reviews.peers),
            connections_closed={"reviews": reviews.closed, "health": health.closed},
            certificate_expiry=self._keeper.expires_at,
            ready=not self.lacks(),
        )
        return self.metrics.render(gauges)

    async def _stop(self) -> None:
        """Be found not ready for a while, during which all is answered; then finish what is under way."""
        self._log.info("stopping")
        reviews, health = self._listeners
        reviews.host.closing = True
        await asyncio.sleep(self._options.shutdown_delay)
        reviews.close()
        await reviews.drain(_DRAIN)
        health.close()
        await health.drain(1.0)
        self._log.info("stopped")


def run(options: Options, access: Access, policy: Policy, log: Log) -> None:
    """Run the webhook on uvloop. Raise SettingError where it cannot listen."""
    import uvloop  # noqa: PLC0415 -- not needed where the module is only looked at

    async def main() -> None:
        await Webhook(options, access, policy, log).run()

    with suppress(KeyboardInterrupt):
        uvloop.run(main())
