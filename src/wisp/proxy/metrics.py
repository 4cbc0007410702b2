"""The sidecar's metrics, in Prometheus' text exposition format 0.0.4. Labels hold nothing but codes."""

from wisp import __version__

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, in seconds, of the exchange histogram."""

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_OUTCOMES = ("token", "refused", "failed", "rejected", "passed", "pass_failed", "other")
_MOST_CODES = 64
"""Distinct label values: codes come from the other side, so further ones are counted together."""


class Metrics:
    """Counters of one process, plain numbers: everything happens in one thread."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = dict.fromkeys(_OUTCOMES, 0)
        """By outcome: a token; refused (4xx); failed for now (429, 503); rejected (not a request); forwarded to the
        node's metadata service, or failed on that way; other: this page."""
        self.cache_hits = 0
        self.exchanges: dict[tuple[str, str], int] = {}
        """By result (granted or the cause of the refusal) and AADSTS code."""
        self._seconds = 0.0
        self._within = [0] * (len(BUCKETS) + 1)

    def exchanged(self, result: str, aadsts: int | None, seconds: float) -> None:
        """Count one exchange that took `seconds`."""
        key = (result, "" if aadsts is None else str(aadsts))
        if key not in self.exchanges and len(self.exchanges) >= _MOST_CODES:
            key = (result, "other")
        self.exchanges[key] = self.exchanges.get(key, 0) + 1
        self._seconds += seconds
        bucket = next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self._within[bucket] += 1

    def render(self, *, tokens: int, earliest_expiry: int | None) -> bytes:
        """Return the page; `earliest_expiry` is in Unix seconds."""
        lines = [
            *_family("requests_total", "counter", "HTTP requests by outcome."),
            *(f'wisp_requests_total{{outcome="{outcome}"}} {count}' for outcome, count in self.requests.items()),
            *_family("exchanges_total", "counter", "Token exchanges with Entra by result and AADSTS code."),
            *(f'wisp_exchanges_total{{result="{r}",aadsts="{a}"}} {n}' for (r, a), n in self.exchanges.items()),
            *self._histogram(),
            *_family("cache_hits_total", "counter", "Token requests answered without waiting for an exchange."),
            f"wisp_cache_hits_total {self.cache_hits}",
            *_family("tokens", "gauge", "Entries in the token store."),
            f"wisp_tokens {tokens}",
        ]
        if earliest_expiry is not None:
            lines += _family("token_expiry_timestamp_seconds", "gauge", "When the token that ends first expires.")
            lines += [f"wisp_token_expiry_timestamp_seconds {earliest_expiry}"]
        lines += _family("build_info", "gauge", "The version that runs.")
        lines += [f'wisp_build_info{{version="{__version__}"}} 1']
        return ("\n".join(lines) + "\n").encode()

    def _histogram(self) -> list[str]:
        name = "wisp_exchange_seconds"
        lines = _family("exchange_seconds", "histogram", "Duration of token exchanges.")
        total = 0
        for bound, count in zip((*BUCKETS, "+Inf"), self._within, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._seconds:.6f}", f"{name}_count {total}"]


def _family(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP wisp_{name} {text}", f"# TYPE wisp_{name} {kind}"]
