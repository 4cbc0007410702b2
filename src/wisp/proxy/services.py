"""What the sidecar loads once it listens: the token service, the store, the exchange process, metrics and log."""

import os
import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from wisp.base.log import Log
from wisp.entra.messages import Granted, Result, TokenKey
from wisp.entra.process import ExchangeProcess
from wisp.entra.settings import ExchangeSettings, WorkloadSettings
from wisp.entra.tokens import Clocks, TokenStore
from wisp.http.connection import Source
from wisp.http.epoll import Loop
from wisp.http.messages import Request, Response
from wisp.imds.identities import Identities
from wisp.proxy.flags import Flags
from wisp.proxy.metrics import Metrics
from wisp.proxy.token_service import OtherEndpoints, TokenService

if TYPE_CHECKING:
    from wisp.imds.passthrough import AlreadyForwarded, ForwardedRequest
    from wisp.proxy.metadata_proxy import MetadataProxy

_DESCRIPTORS = 4096


class Services:
    """The token service and what it needs."""

    def __init__(
        self,
        flags: Flags,
        settings: ExchangeSettings,
        workload: WorkloadSettings,
        loop: Loop,
        health: Callable[[str], Response | None],
    ) -> None:
        self.log = Log(flags.log_level)
        self._loop = loop
        self._endpoint = flags.metadata_endpoint
        self._metadata_proxy: MetadataProxy | None = None
        self._metrics = Metrics()
        self.process = ExchangeProcess(settings, loop, self._on_exchange)
        clocks = Clocks(lambda: loop.now, time.time, spread)
        store = TokenStore(self.process, clocks, refusal_hold=flags.refusal_hold)
        loop.add_timed(store)
        identities = Identities(
            settings.client_id,
            object_id=workload.object_id,
            resource_id=workload.resource_id,
            header=workload.identity_header,
            header_required=workload.header_required,
        )
        self.allowed = flags.passthrough
        """What is forwarded to the node's metadata service."""
        endpoints = OtherEndpoints(health, self.allowed, self._forward)
        self.tokens = TokenService(store, identities, self._metrics, self.log, endpoints)

    def _forward(self, decision: "ForwardedRequest | AlreadyForwarded", request: Request) -> Response | Source:
        if self._metadata_proxy is None:
            # Most pods request nothing of the node's metadata service.
            from wisp.proxy.metadata_proxy import MetadataProxy  # noqa: PLC0415 -- see above
            from wisp.proxy.returned import MetadataEndpoint  # noqa: PLC0415 -- see above

            endpoint = MetadataEndpoint(*self._endpoint)
            self._metadata_proxy = MetadataProxy(endpoint, self._loop, self._metrics, self.log)
        return self._metadata_proxy.answer(decision, request)

    def _on_exchange(self, key: TokenKey, result: Result, seconds: float) -> None:
        """Count and log one exchange."""
        fields: dict[str, object] = {"client_id": key.client_id, "resource": key.resource, "seconds": round(seconds, 4)}
        if isinstance(result, Granted):
            self._metrics.exchanged("granted", None, seconds)
            self.log.info("token exchanged", expires_in=result.expires_in, **fields)
        else:
            self._metrics.exchanged(result.cause, result.aadsts, seconds)
            fields["aadsts"] = result.aadsts
            self.log.warning("exchange failed", cause=result.cause, reason=result.description, **fields)


def spread() -> float:
    """Return a random number in [0, 1): the random module would cost the sidecar 0.3 MB."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the connection limit needs: many systems start a process with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
