"""The metrics page in Prometheus' format."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.proxy.exposition import Family, parse
from wisp import __version__
from wisp.proxy.metrics import BUCKETS, Metrics

CAUSES = ("granted", "refused", "throttled", "unavailable", "token_file", "exchange_process")


def page(metrics: Metrics, *, tokens: int = 0, earliest_expiry: int | None = None) -> dict[str, Family]:
    """Return the parsed page."""
    return parse(metrics.render(tokens=tokens, earliest_expiry=earliest_expiry).decode())


def test_page_lists_every_outcome_from_the_start() -> None:
    """There is no expiry without a token."""
    families = page(Metrics())
    assert {key: family.kind for key, family in families.items()} == {
        "wisp_requests_total": "counter",
        "wisp_exchanges_total": "counter",
        "wisp_exchange_seconds": "histogram",
        "wisp_cache_hits_total": "counter",
        "wisp_tokens": "gauge",
        "wisp_build_info": "gauge",
    }
    assert set(families["wisp_requests_total"].samples) == {
        ("", f"outcome={outcome}")
        for outcome in ("token", "refused", "failed", "rejected", "passed", "pass_failed", "other")
    }
    assert families["wisp_build_info"].samples == {("", f"version={__version__}"): 1}


def test_expiry_is_in_unix_seconds() -> None:
    families = page(Metrics(), tokens=3, earliest_expiry=1_790_000_000)
    assert families["wisp_token_expiry_timestamp_seconds"].samples == {("",): 1_790_000_000}
    assert families["wisp_tokens"].samples == {("",): 3}


@given(st.lists(st.tuples(st.sampled_from(CAUSES), st.none() | st.integers(1, 10**9), st.floats(0, 100)), max_size=200))
def test_exchanges_have_a_bounded_number_of_labels(seen: list[tuple[str, int | None, float]]) -> None:
    """Every code of Entra is counted, and the histogram adds up."""
    metrics = Metrics()
    for exchange in seen:
        metrics.exchanged(*exchange)
    families = page(metrics)
    assert sum(families["wisp_exchanges_total"].samples.values()) == len(seen)
    assert len(families["wisp_exchanges_total"].samples) <= 64 + len(CAUSES)
    histogram = families["wisp_exchange_seconds"].samples
    buckets = [histogram["_bucket", f"le={bound}"] for bound in (*BUCKETS, "+Inf")]
    assert buckets == [sum(seconds <= bound for *_, seconds in seen) for bound in (*BUCKETS, float("inf"))]
    assert histogram["_count",] == len(seen)
    assert abs(histogram["_sum",] - sum(seconds for *_, seconds in seen)) < 0.001
