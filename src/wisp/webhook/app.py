"""The webhook's process: connect its parts, and report whether all are ready."""

import asyncio
import dataclasses
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from wisp.admission.policy import InlineCA, NativeSidecar, Policy, UnknownCA, parse_version
from wisp.admission.types import MAX_REVIEW
from wisp.base.errors import SettingError
from wisp.base.log import Log
from wisp.certificates.server import CertificateOptions, ServerCertificate
from wisp.http.asyncio_process import AsyncioProcess, ListenOptions, run_on_uvloop
from wisp.http.health import Health
from wisp.http.tls import Presented
from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.config import ApiServer
from wisp.kubernetes.types import ApiRequest, ApiUnavailableError, Requester
from wisp.kubernetes.watch import Watcher, random_pause
from wisp.webhook.accounts import SERVICE_ACCOUNTS, ServiceAccounts
from wisp.webhook.endpoint_ca import EndpointCAFile
from wisp.webhook.metrics import Gauges, WebhookMetrics
from wisp.webhook.publication import WebhookConfiguration
from wisp.webhook.reviews import Reviews

_VERSION_INTERVAL = 600.0
"""Seconds between reads of the API server's version: clusters are upgraded while the webhook runs."""


class WebhookOptions(NamedTuple):
    """The options of the process."""

    listen: ListenOptions
    certificate: CertificateOptions
    configuration: str
    """Name of the MutatingWebhookConfiguration."""
    tls_min_version: str = "1.3"
    client_ca: Path | None = None
    """PEM file with the CAs of the client certificates that API servers must present."""


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
        self._log = log
        self._policy = policy
        self.metrics = WebhookMetrics()
        self._api = ApiClient(server)
        self._accounts = ServiceAccounts(self._api)
        self._presented = _presented(options)
        self._reviews = Reviews(self._accounts, policy, self.metrics, log)
        self._endpoint_ca = self._endpoint_ca_file()
        self._version = ServerVersion(self._api, self._use_version, log)
        configuration = WebhookConfiguration(self._api, options.configuration)
        self._certificate = ServerCertificate(options.certificate, self._api, self._presented, log, configuration)
        health = Health(self.not_ready, self._render_metrics)
        self._process = AsyncioProcess(options.listen, self._reviews, health, self._presented, largest_body=MAX_REVIEW)

    async def run(self) -> None:
        """Serve until a signal arrives."""
        await self._process.run(self._coroutines(), self._log)
        self._api.close()

    def not_ready(self) -> list[str]:
        """Return the reasons why the webhook is not ready."""
        ready = {
            "stopping": not self._process.stopping,
            "no certificate yet": self._presented.ready,
            "the CA bundle is not in place": self._certificate.source.is_trusted,
            "the service accounts have not been listed yet": self._accounts.synced,
            "the API server's version is not known yet": self._version.known is not None or not self._needs_version,
        }
        return [reason for reason, is_ready in ready.items() if not is_ready]

    @property
    def _needs_version(self) -> bool:
        return self._policy.server_version is None and self._policy.native_sidecar is NativeSidecar.AUTO

    def _use_version(self, version: tuple[int, int]) -> None:
        self._reviews.policy = dataclasses.replace(self._reviews.policy, server_version=version)

    def _endpoint_ca_file(self) -> EndpointCAFile | None:
        """Return the follower of the custom token endpoint's CA if it is in a file; the file has been read once."""
        endpoint = self._policy.token_endpoint
        if endpoint is None or not isinstance(endpoint.ca, UnknownCA):
            return None

        def use(ca: InlineCA) -> None:
            known = dataclasses.replace(endpoint, ca=ca)
            self._reviews.policy = dataclasses.replace(self._reviews.policy, token_endpoint=known)

        file = EndpointCAFile(Path(endpoint.ca.file), use, self._log)
        file.read()
        return file

    def _count_restart(self, resource: str, reason: str) -> None:
        self.metrics.watch_restarts[resource] += 1
        self._log.warning("watch restarted", resource=resource, reason=reason)

    def _coroutines(self) -> Iterator[Coroutine[None, None, None]]:
        yield Watcher(self._api, SERVICE_ACCOUNTS, self._accounts, self._count_restart).run()
        yield from self._certificate.coroutines(self._count_restart)
        if self._needs_version:
            yield self._version.run()
        if self._endpoint_ca is not None:
            yield self._endpoint_ca.run()

    def _render_metrics(self) -> bytes:
        reviews, health = self._process.main, self._process.health
        gauges = Gauges(
            certificate_failures=self._certificate.source.failures,
            accounts=len(self._accounts),
            account_reads=self._accounts.reads,
            connections=len(reviews.peers),
            connections_closed={"reviews": reviews.closed, "health": health.closed},
            certificate_expiry=self._certificate.source.expires_at,
            ready=not self.not_ready(),
        )
        return self.metrics.render(gauges)


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

    async def main() -> None:
        await Webhook(options, server, policy, log).run()

    run_on_uvloop(main)
