"""The gateway's metrics. Labels take known values, and codes of which few are counted apart."""

from collections.abc import Mapping
from typing import NamedTuple, get_args

from wisp import __version__
from wisp.base.metrics import CodeCounter, Histogram, family, labelled
from wisp.gateway.types import Outcome
from wisp.http.eviction import Reason

REQUEST_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0)
"""Upper bounds, in seconds, of the histogram of requests."""
REVIEW_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds, in seconds, of the histogram of reviews."""

_REVIEW_KINDS = ("token", "access")
_REVIEW_RESULTS = ("allowed", "denied", "unavailable")


class GatewayGauges(NamedTuple):
    """Values that are read when the metrics are rendered."""

    tokens: int
    callers: int
    audit_lines_lost: int
    connections: int
    connections_closed: Mapping[str, Mapping[Reason, int]]
    """Connections that were closed or not accepted because of a limit, by port and reason."""
    certificate_expiry: float | None
    """Unix seconds; None while there is no certificate."""
    certificate_failures: int
    ready: bool


class GatewayMetrics:
    """Counters of one process. They are plain numbers, because everything happens in one thread."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = dict.fromkeys(get_args(Outcome), 0)
        self._request_seconds = Histogram(REQUEST_BOUNDS)
        self.authorization_hits = 0
        """Requests whose caller needed no review."""
        self.token_hits = 0
        """Requests whose token was in the store."""
        self.exchanges = CodeCounter()
        """By result: granted, or the cause of the refusal."""
        self._reviews = {(kind, result): 0 for kind in _REVIEW_KINDS for result in _REVIEW_RESULTS}
        self._review_seconds = Histogram(REVIEW_BOUNDS)

    def answered(self, outcome: Outcome, seconds: float) -> None:
        """Count one token request that was answered after `seconds`."""
        self.requests[outcome] += 1
        self._request_seconds.observe(seconds)

    def reviewed(self, kind: str, result: str, seconds: float) -> None:
        """Count one review, of kind token or access, that was allowed, denied or unavailable after `seconds`."""
        self._reviews[kind, result] += 1
        self._review_seconds.observe(seconds)

    def render(self, gauges: GatewayGauges) -> bytes:
        """Return the page."""
        closed: dict[str, object] = {
            f'{{port="{port}",reason="{reason}"}}': count
            for port, reasons in gauges.connections_closed.items()
            for reason, count in reasons.items()
        }
        reviews: dict[str, object] = {
            f'{{kind="{kind}",result="{result}"}}': count for (kind, result), count in self._reviews.items()
        }
        expiry: dict[str, object] = {} if gauges.certificate_expiry is None else {"": int(gauges.certificate_expiry)}
        hits = labelled("cache", {"authorization": self.authorization_hits, "token": self.token_hits})
        renewed = "Failures to renew the certificate."
        exchanged = "Token exchanges with Entra by result and AADSTS code."
        families: tuple[tuple[str, str, str, dict[str, object]], ...] = (
            ("requests_total", "counter", "Token requests by result.", labelled("result", self.requests)),
            ("request_seconds", "histogram", "Duration of token requests.", self._request_seconds.samples()),
            ("reviews_total", "counter", "Reviews by the API server, by kind and result.", reviews),
            ("review_seconds", "histogram", "Duration of reviews.", self._review_seconds.samples()),
            ("exchanges_total", "counter", exchanged, self.exchanges.samples()),
            ("cache_hits_total", "counter", "Token requests that found their answer in a cache.", hits),
            ("audit_lines_lost_total", "counter", "Audit lines not written.", {"": gauges.audit_lines_lost}),
            ("certificate_failures_total", "counter", renewed, {"": gauges.certificate_failures}),
            ("connections_closed_total", "counter", "Connections closed or refused because of a limit.", closed),
            ("tokens", "gauge", "Entries in the token stores.", {"": gauges.tokens}),
            ("callers", "gauge", "Callers whose limits are being counted.", {"": gauges.callers}),
            ("connections", "gauge", "Open connections for token requests.", {"": gauges.connections}),
            ("ready", "gauge", "1 while /readyz succeeds.", {"": int(gauges.ready)}),
            ("certificate_expiry_timestamp_seconds", "gauge", "When the certificate in use expires.", expiry),
            ("build_info", "gauge", "The running version.", {f'{{version="{__version__}"}}': 1}),
        )
        return "".join(
            family(f"wisp_gateway_{name}", kind, text, samples) for name, kind, text, samples in families if samples
        ).encode()
