"""The webhook's metrics, rendered in Prometheus' text exposition format 0.0.4. Labels take a few known values only."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from wisp import __version__
from wisp.http.eviction import Reason

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds, in seconds, of the review histogram."""

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
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
        """By result: patched; not patched; refused because of the pod; refused because the service account cannot be
        read at the moment; rejected because it is not a review or not a request; failed because of a bug."""
        self.lookups = 0
        self.lookup_failures = 0
        self.watch_restarts: dict[str, int] = dict.fromkeys(_RESOURCES, 0)
        self._seconds = 0.0
        self._counts = [0] * (len(BUCKETS) + 1)

    def count_review(self, result: str, seconds: float) -> None:
        """Count one review that took `seconds`."""
        self.reviews[result] += 1
        self._seconds += seconds
        self._counts[bisect_left(BUCKETS, seconds)] += 1

    def render(self, gauges: Gauges) -> bytes:
        """Return the page."""
        closed = {
            f'port="{port}",reason="{reason}"': count
            for port, reasons in gauges.connections_closed.items()
            for reason, count in reasons.items()
        }
        cumulative = list(accumulate(self._counts))
        histogram = {
            **{f'_bucket{{le="{bound}"}}': count for bound, count in zip((*BUCKETS, "+Inf"), cumulative, strict=True)},
            "_sum": f"{self._seconds:.6f}",
            "_count": cumulative[-1],
        }
        expiry = {} if gauges.certificate_expiry is None else {"": int(gauges.certificate_expiry)}
        families: tuple[tuple[str, str, str, Mapping[str, object]], ...] = (
            ("reviews_total", "counter", "Admission reviews by result.", _labelled("result", self.reviews)),
            ("review_seconds", "histogram", "Duration of reviews, from the whole request to its answer.", histogram),
            ("account_lookups_total", "counter", "Reviews whose account was not cached.", {"": self.lookups}),
            ("account_lookup_failures_total", "counter", "Lookups without an answer.", {"": self.lookup_failures}),
            (
                "account_reads_total",
                "counter",
                "Service accounts read from the API server.",
                {"": gauges.account_reads},
            ),
            (
                "certificate_failures_total",
                "counter",
                "Failed attempts to read, issue or store certificates.",
                {"": gauges.certificate_failures},
            ),
            (
                "watch_restarts_total",
                "counter",
                "Watches that broke or expired, by resource.",
                _labelled("resource", self.watch_restarts),
            ),
            (
                "connections_closed_total",
                "counter",
                "Connections closed or refused because of a limit.",
                {f"{{{labels}}}": count for labels, count in closed.items()},
            ),
            ("accounts", "gauge", "Service accounts in the cache.", {"": gauges.accounts}),
            ("connections", "gauge", "Open connections for reviews.", {"": gauges.connections}),
            ("ready", "gauge", "1 while /readyz succeeds.", {"": int(gauges.ready)}),
            ("certificate_expiry_timestamp_seconds", "gauge", "When the certificate in use expires.", expiry),
            ("build_info", "gauge", "The running version.", {f'{{version="{__version__}"}}': 1}),
        )
        return "".join(line for family in families if family[3] for line in _lines(*family)).encode()


def _labelled(label: str, counts: Mapping[str, int]) -> dict[str, int]:
    return {f'{{{label}="{value}"}}': count for value, count in counts.items()}


def _lines(name: str, kind: str, text: str, samples: Mapping[str, object]) -> Iterable[str]:
    yield f"# HELP wisp_webhook_{name} {text}\n# TYPE wisp_webhook_{name} {kind}\n"
    for suffix, value in samples.items():
        yield f"wisp_webhook_{name}{suffix} {value}\n"
