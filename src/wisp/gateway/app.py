"""The gateway's process: connect its parts, and report whether all are ready."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import NamedTuple

from wisp.base.errors import SettingError
from wisp.base.log import Log
from wisp.base.masking import masked
from wisp.base.secret import Secret
from wisp.certificates.server import CertificateOptions, ServerCertificate
from wisp.entra.exchange.files import read_assertion
from wisp.entra.messages import Granted, Result, TokenKey
from wisp.entra.settings import ExchangeSettings
from wisp.gateway.answers import Federation
from wisp.gateway.assertion import issuer_and_subject
from wisp.gateway.audit import AuditLog
from wisp.gateway.authorizer import CONCURRENT_REVIEWS, Authorizer, AuthorizerOptions
from wisp.gateway.limits import CallerLimits
from wisp.gateway.metrics import GatewayGauges, GatewayMetrics
from wisp.gateway.request import FORM_LIMIT, Rules
from wisp.gateway.service import Records, Steps, TokenRequests
from wisp.gateway.tokens import IdentityTokens
from wisp.http.asyncio_process import AsyncioProcess, ListenOptions, run_on_uvloop
from wisp.http.health import Health
from wisp.http.tls import Presented
from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.config import ApiServer
from wisp.kubernetes.watch import random_pause

_FLUSH_SECONDS = 1.0
"""Time at the end for audit lines whose reader is slow."""


class GatewayOptions(NamedTuple):
    """The options of the process."""

    listen: ListenOptions
    certificate: CertificateOptions
    exchange: ExchangeSettings
    tenants: frozenset[str]
    """In lower case."""
    authorizer: AuthorizerOptions
    limits: CallerLimits


class OwnToken:
    """The gateway's own service account token, which the exchange process exchanges for those of identities."""

    def __init__(self, path: str) -> None:
        self._path = path

    def federation(self) -> Federation | None:
        """Return what federated credentials must say, or None if the token cannot be read at the moment."""
        token = read_assertion(self._path)
        found = issuer_and_subject(token) if isinstance(token, Secret) else None
        return None if found is None else Federation(*found)


class Gateway:
    """One gateway process, on the running loop."""

    def __init__(self, options: GatewayOptions, server: ApiServer, log: Log) -> None:
        self._log = log
        self.metrics = GatewayMetrics()
        self._api = ApiClient(server, connections=CONCURRENT_REVIEWS)
        self._presented = Presented()
        self._certificate = ServerCertificate(options.certificate, self._api, self._presented, log)
        self._own_token = OwnToken(options.exchange.token_file)
        self._authorizer = Authorizer(self._api, options.authorizer, self.metrics.reviewed, log)
        self._tokens = IdentityTokens.over_process(options.exchange, self._observe)
        self._limits = options.limits
        loop = asyncio.get_running_loop()
        self._audit = AuditLog(loop.call_later)
        self._reviewed = False
        steps = Steps(
            Rules(options.tenants),
            self._authorizer,
            self._tokens,
            self._limits,
            self._own_token.federation,
            options.exchange.authority.rstrip("/"),
        )
        application = TokenRequests(steps, Records(self.metrics, self._audit, log))
        health = Health(self.not_ready, self._render_metrics)
        try:
            self._process = AsyncioProcess(
                options.listen, application, health, self._presented, largest_body=FORM_LIMIT
            )
        except SettingError:
            self._tokens.close()
            raise

    async def run(self) -> None:
        """Serve until a signal arrives."""
        await self._process.run(self._coroutines(), self._log)
        self._tokens.close()
        self._authorizer.close()
        self._api.close()
        self._audit.flush(_FLUSH_SECONDS)

    def not_ready(self) -> list[str]:
        """Return the reasons why the gateway is not ready."""
        ready = {
            "stopping": not self._process.stopping,
            "no certificate yet": self._presented.ready,
            "the gateway's own token cannot be read": self._own_token.federation() is not None,
            "the API server has not reviewed anything yet": self._reviewed,
        }
        return [reason for reason, is_ready in ready.items() if not is_ready]

    def _coroutines(self) -> Iterator[Coroutine[None, None, None]]:
        yield self._await_reviews()
        yield from self._certificate.coroutines(self._on_restart)

    async def _await_reviews(self) -> None:
        """Ask the API server for reviews until it makes them, without which there is no token for anybody."""
        failures = 0
        while (reason := await self._authorizer.probe()) is not None:
            self._log.warning("no reviews", reason=reason)
            await asyncio.sleep(random_pause(failures))
            failures += 1
        self._reviewed = True

    def _on_restart(self, resource: str, reason: str) -> None:
        self._log.warning("watch restarted", resource=resource, reason=reason)

    def _observe(self, key: TokenKey, result: Result, seconds: float) -> None:
        """Count and log one exchange."""
        scope = masked(key.resource)  # a client may have mixed up its parameters
        fields = {"client_id": key.client_id, "tenant": key.tenant, "scope": scope, "seconds": round(seconds, 3)}
        if isinstance(result, Granted):
            self.metrics.exchanges.add("granted", None)
            self._log.info("token exchanged", expires_in=result.expires_in, **fields)
        else:
            self.metrics.exchanges.add(result.cause, result.aadsts)
            self._log.warning("exchange failed", cause=result.cause, reason=result.description, **fields)

    def _render_metrics(self) -> bytes:
        main, health = self._process.main, self._process.health
        return self.metrics.render(
            GatewayGauges(
                tokens=len(self._tokens),
                callers=len(self._limits),
                audit_lines_lost=self._audit.lost,
                connections=len(main.peers),
                connections_closed={"gateway": main.closed, "health": health.closed},
                certificate_expiry=self._certificate.source.expires_at,
                certificate_failures=self._certificate.source.failures,
                ready=not self.not_ready(),
            )
        )


def run(options: GatewayOptions, server: ApiServer, log: Log) -> None:
    """Run the gateway on uvloop. Raise SettingError if it cannot listen."""

    async def main() -> None:
        await Gateway(options, server, log).run()

    run_on_uvloop(main)
