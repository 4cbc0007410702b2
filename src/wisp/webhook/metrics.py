"""The webhook's metrics. Labels take a few known values only."""

from collections.abc import Mapping
from typing import NamedTuple

from wisp import __version__
from wisp.base.metrics import Histogram, family, labelled
from wisp.http.eviction import Reason

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds, in seconds, of the review histogram."""

_RESULTS = ("changed", "unchanged", "refused", "unavailable", "rejected", "failed")
_RESOURCES = ("serviceaccounts", "secrets", "mutatingwebhookconfigurations")


class Gauges(NamedTuple):
    """Values that are read when the metrics are rendered."""

    accounts: int
    account_reads: int
    connections: int
    certificate_expiry: float | None
    """Unix seconds; None while there is no certificate."""
    ready: bool
    certificate_failures: int
    connections_closed: Mapping[str, Mapping[Reason, int]]
    """Connections that were closed or not accepted because of a limit, by port and reason."""


class WebhookMetrics:
    """Counters of one process. They are plain numbers, because everything happens in one thread."""

    def __init__(self) -> None:
        self.reviews: dict[str, int] = dict.fromkeys(_RESULTS, 0)
        """By result: patched; not patched; refused because of the pod; refused until later, because the service
        account cannot be read or the custom token endpoint's CA is unknown; rejected because it is not a review or not
        a request; failed because of a bug."""
        self.durations = Histogram(BUCKETS)
        """Of all reviews except rejected ones."""
        self.lookups = 0
        self.lookup_failures = 0
        self.watch_restarts: dict[str, int] = dict.fromkeys(_RESOURCES, 0)

    def render(self, gauges: Gauges) -> bytes:
        """Return the page."""
        closed: dict[str, object] = {
            f'{{port="{port}",reason="{reason}"}}': count
            for port, reasons in gauges.connections_closed.items()
            for reason, count in reasons.items()
        }
        expiry: dict[str, object] = {} if gauges.certificate_expiry is None else {"": int(gauges.certificate_expiry)}
        version: dict[str, object] = {f'{{version="{__version__}"}}': 1}
        families: tuple[tuple[str, str, str, dict[str, object]], ...] = (
            ("reviews_total", "counter", "Admission reviews by result.", labelled("result", self.reviews)),
            ("review_seconds", "histogram", "Duration of reviews, from request to answer.", self.durations.samples()),
            ("account_lookups_total", "counter", "Reviews whose account was not cached.", {"": self.lookups}),
            ("account_lookup_failures_total", "counter", "Lookups without an answer.", {"": self.lookup_failures}),
            ("account_reads_total", "counter", "Accounts read from the API server.", {"": gauges.account_reads}),
            ("certificate_failures_total", "counter", "Failures to issue or store.", {"": gauges.certificate_failures}),
            ("watch_restarts_total", "counter", "Broken watches.", labelled("resource", self.watch_restarts)),
            ("connections_closed_total", "counter", "Connections closed or refused because of a limit.", closed),
            ("accounts", "gauge", "Service accounts in the cache.", {"": gauges.accounts}),
            ("connections", "gauge", "Open connections for reviews.", {"": gauges.connections}),
            ("ready", "gauge", "1 while /readyz succeeds.", {"": int(gauges.ready)}),
            ("certificate_expiry_timestamp_seconds", "gauge", "When the certificate in use expires.", expiry),
            ("build_info", "gauge", "The running version.", version),
        )
        return "".join(
            family(f"wisp_webhook_{name}", kind, text, dict(samples))
            for name, kind, text, samples in families
            if samples
        ).encode()
