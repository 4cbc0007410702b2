"""The sidecar's metrics, in Prometheus' text exposition format 0.0.4. Labels hold nothing but codes."""

from wisp import __version__
from wisp.base.metrics import CodeCounter, Histogram, family, labelled

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, in seconds, of the exchange histogram."""

_OUTCOMES = ("token", "refused", "failed", "rejected", "passed", "pass_failed", "other")


class Metrics:
    """Counters of one process, plain numbers: everything happens in one thread."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = dict.fromkeys(_OUTCOMES, 0)
        """By outcome: a token; refused (4xx); failed for now (429, 503); rejected (not a request); forwarded to the
        node's metadata service, or failed on that way; other: this page."""
        self.cache_hits = 0
        self._exchanges = CodeCounter()
        """By result: granted, or the cause of the refusal."""
        self._durations = Histogram(BUCKETS)

    def exchanged(self, result: str, aadsts: int | None, seconds: float) -> None:
        """Count one exchange that took `seconds`."""
        self._exchanges.add(result, aadsts)
        self._durations.observe(seconds)

    def render(self, *, tokens: int, earliest_expiry: int | None) -> bytes:
        """Return the page; `earliest_expiry` is in Unix seconds."""
        hits = "Token requests answered without waiting for an exchange."
        exchanged = "Token exchanges with Entra by result and AADSTS code."
        families = [
            family("wisp_requests_total", "counter", "HTTP requests by outcome.", labelled("outcome", self.requests)),
            family("wisp_exchanges_total", "counter", exchanged, self._exchanges.samples()),
            family("wisp_exchange_seconds", "histogram", "Duration of token exchanges.", self._durations.samples()),
            family("wisp_cache_hits_total", "counter", hits, {"": self.cache_hits}),
            family("wisp_tokens", "gauge", "Entries in the token store.", {"": tokens}),
        ]
        if earliest_expiry is not None:
            text = "When the token that ends first expires."
            families.append(family("wisp_token_expiry_timestamp_seconds", "gauge", text, {"": earliest_expiry}))
        families.append(family("wisp_build_info", "gauge", "The running version.", {f'{{version="{__version__}"}}': 1}))
        return "".join(families).encode()
