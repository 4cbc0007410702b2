"""What the webhook counts, as Prometheus reads it (text exposition format 0.0.4). Labels are of a known few values."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from wisp import __version__
from wisp.http.eviction import Reason

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds, in seconds, of the review histogram."""

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

RESULTS = ("changed", "unchanged", "refused", "unavailable", "rejected", "failed")
KINDS = ("serviceaccounts", "secrets", "mutatingwebhookconfigurations")


class Gauges(NamedTuple):
    """What is read off at the moment of asking."""

    accounts: int
    account_reads: int
    connections: int
    certificate_expiry: float | None
    ready: bool
    certificate_failures: int
    connections_closed: Mapping[str, Mapping[Reason, int]]
    """Connections that were closed or not accepted because of a limit, by port and reason."""


class Metrics:
    """Counters of one process, plain numbers: everything happens in one thread."""

    def __init__(self) -> None:
        self.reviews: dict[str, int] = dict.fromkeys(RESULTS, 0)
        """By result: a patch; none needed; refused (the pod is at fault); refused for now (the API server does not say
        what the service account is); rejected as no review or no request; failed by a fault of ours."""
        self.lookups = 0
        self.lookup_failures = 0
        self.watch_restarts: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._seconds = 0.0
        self._within = [0] * (len(BUCKETS) + 1)

    def reviewed(self, result: str, seconds: float) -> None:
        """Count one review that took `seconds`."""
        self.reviews[result] += 1
        self._seconds += seconds
        self._within[bisect_left(BUCKETS, seconds)] += 1

    def render(self, gauges: Gauges) -> bytes:
        """Return the page."""
        lines = [
            *_family("reviews_total", "counter", "Admission reviews by result."),
            *(f'wisp_webhook_reviews_total{{result="{name}"}} {count}' for name, count in self.reviews.items()),
            *self._histogram(),
            *_family("account_lookups_total", "counter", "Reviews whose service account had to be looked up."),
            f"wisp_webhook_account_lookups_total {self.lookups}",
            *_family("account_lookup_failures_total", "counter", "Of those, the ones that gave no answer."),
            f"wisp_webhook_account_lookup_failures_total {self.lookup_failures}",
            *_family("account_reads_total", "counter", "Service accounts read from the API server."),
            f"wisp_webhook_account_reads_total {gauges.account_reads}",
            *_family("certificate_failures_total", "counter", "Times that the certificates could not be kept."),
            f"wisp_webhook_certificate_failures_total {gauges.certificate_failures}",
            *_family("watch_restarts_total", "counter", "Watches that broke or expired, by resource."),
            *(
                f'wisp_webhook_watch_restarts_total{{resource="{name}"}} {count}'
                for name, count in self.watch_restarts.items()
            ),
            *_family("connections_closed_total", "counter", "Connections closed or refused because of a limit."),
            *(
                f'wisp_webhook_connections_closed_total{{port="{port}",reason="{reason}"}} {count}'
                for port, reasons in gauges.connections_closed.items()
                for reason, count in reasons.items()
            ),
            *_gauges(gauges),
            *_family("build_info", "gauge", "The version that runs."),
            f'wisp_webhook_build_info{{version="{__version__}"}} 1',
        ]
        return ("\n".join(lines) + "\n").encode()

    def _histogram(self) -> list[str]:
        name = "wisp_webhook_review_seconds"
        lines = _family("review_seconds", "histogram", "Duration of reviews, from the whole request to its answer.")
        total = 0
        for bound, count in zip((*BUCKETS, "+Inf"), self._within, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._seconds:.6f}", f"{name}_count {total}"]


def _gauges(gauges: Gauges) -> list[str]:
    lines = [
        *_family("accounts", "gauge", "Service accounts in the cache."),
        f"wisp_webhook_accounts {gauges.accounts}",
        *_family("connections", "gauge", "Open connections for reviews."),
        f"wisp_webhook_connections {gauges.connections}",
        *_family("ready", "gauge", "1 while /readyz says so."),
        f"wisp_webhook_ready {int(gauges.ready)}",
    ]
    if gauges.certificate_expiry is not None:
        lines += _family("certificate_expiry_timestamp_seconds", "gauge", "When the certificate in use ends.")
        lines += [f"wisp_webhook_certificate_expiry_timestamp_seconds {int(gauges.certificate_expiry)}"]
    return lines


def _family(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP wisp_webhook_{name} {text}", f"# TYPE wisp_webhook_{name} {kind}"]
