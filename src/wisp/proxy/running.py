"""What a running sidecar needs besides its server, loaded once it listens: the token service and all it stands on."""

# ruff: noqa: PLC0415 -- most pods ask nothing of the node's metadata service: what passes that on is loaded when one does
import os
import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from wisp.entra.messages import Ask, Granted, Result
from wisp.entra.process import ExchangeProcess
from wisp.entra.settings import ExchangeSettings, WorkloadSettings
from wisp.entra.tokens import Clocks, TokenStore
from wisp.http.epoll import Loop
from wisp.http.epoll_peer import Source
from wisp.http.head import Request
from wisp.http.response import Response
from wisp.imds.identities import Identities
from wisp.imds.passthrough import SEGMENTS, Forward, Returned
from wisp.proxy.flags import Flags
from wisp.proxy.log import Log
from wisp.proxy.metrics import Metrics
from wisp.proxy.service import Beside, TokenService

if TYPE_CHECKING:
    from wisp.proxy.passing import Passing

_DESCRIPTORS = 4096


class Tokens:
    """The token service with what it stands on: the store, the exchange process, metrics and log."""

    def __init__(
        self,
        flags: Flags,
        settings: ExchangeSettings,
        workload: WorkloadSettings,
        loop: Loop,
        pages: Callable[[str], Response | None],
    ) -> None:
        self.log = Log(flags.log_level)
        self._loop = loop
        self._endpoint = flags.metadata_endpoint
        self._passing: Passing | None = None
        self._metrics = Metrics()
        self.process = ExchangeProcess(settings, loop, self._exchanged)
        clocks = Clocks(lambda: loop.now, time.time, spread)
        store = TokenStore(self.process, clocks, refusal_hold=flags.refusal_hold)
        loop.add_timed(store)
        self.passed = SEGMENTS if flags.passthrough is None else flags.passthrough
        """What is passed on to the node's metadata service."""
        beside = Beside(pages, self.passed, self._pass_on)
        self.service = TokenService(store, _identities(settings, workload), self._metrics, self.log, beside)

    def _pass_on(self, judged: Forward | Returned, request: Request) -> Response | Source:
        if self._passing is None:
            from wisp.proxy.passing import Passing
            from wisp.proxy.relay import Endpoint

            self._passing = Passing(Endpoint(*self._endpoint), self._loop, self._metrics, self.log)
        if isinstance(judged, Returned):
            return self._passing.explain(judged, request)
        return self._passing.begin(judged, request)

    def _exchanged(self, ask: Ask, result: Result, seconds: float) -> None:
        """Count and log one exchange."""
        about: dict[str, object] = {"client_id": ask.client_id, "resource": ask.resource, "seconds": round(seconds, 4)}
        if isinstance(result, Granted):
            self._metrics.exchanged("granted", None, seconds)
            self.log.info("token exchanged", expires_in=result.expires_in, **about)
        else:
            self._metrics.exchanged(result.cause, result.aadsts, seconds)
            about["aadsts"] = result.aadsts
            self.log.warning("exchange failed", cause=result.cause, reason=result.description, **about)


def _identities(settings: ExchangeSettings, workload: WorkloadSettings) -> Identities:
    return Identities(
        settings.client_id,
        object_id=workload.object_id,
        resource_id=workload.resource_id,
        header=workload.identity_header,
        header_required=workload.header_required,
    )


def spread() -> float:
    """Return a random number in [0, 1): the random module would cost the sidecar 0.3 MB."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the connection limit needs: many systems start a process with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
