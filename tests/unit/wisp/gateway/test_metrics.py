"""The gateway's metrics page in Prometheus' format."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.proxy.exposition import Family, parse
from wisp import __version__
from wisp.gateway.metrics import REQUEST_BOUNDS, GatewayGauges, GatewayMetrics
from wisp.gateway.types import Outcome

GAUGES = GatewayGauges(
    tokens=3,
    callers=4,
    audit_lines_lost=5,
    connections=6,
    connections_closed={"gateway": {"source": 7, "memory": 0}, "health": {"source": 1}},
    certificate_expiry=1_790_000_000.7,
    certificate_failures=8,
    ready=True,
)
CAUSES = ("granted", "refused", "throttled", "unavailable", "token_file", "exchange_process")


def page(metrics: GatewayMetrics, gauges: GatewayGauges = GAUGES) -> dict[str, Family]:
    """Return the parsed page."""
    return parse(metrics.render(gauges).decode())


def test_page_lists_every_result_from_the_start() -> None:
    families = page(GatewayMetrics())
    assert {name.removeprefix("wisp_gateway_"): family.kind for name, family in families.items()} == {
        "requests_total": "counter",
        "request_seconds": "histogram",
        "reviews_total": "counter",
        "review_seconds": "histogram",
        "cache_hits_total": "counter",
        "audit_lines_lost_total": "counter",
        "certificate_failures_total": "counter",
        "connections_closed_total": "counter",
        "tokens": "gauge",
        "callers": "gauge",
        "connections": "gauge",
        "ready": "gauge",
        "certificate_expiry_timestamp_seconds": "gauge",
        "build_info": "gauge",
    }
    results = {f"result={result}" for result in (*get_args(Outcome), "failed")}
    assert {labels[1] for labels in families["wisp_gateway_requests_total"].samples} == results
    assert len(families["wisp_gateway_reviews_total"].samples) == 6


def test_gauges_are_read_when_the_page_is_rendered() -> None:
    families = page(GatewayMetrics())
    found = {name: family.samples.get(("",)) for name, family in families.items()}
    assert found["wisp_gateway_tokens"] == 3
    assert found["wisp_gateway_callers"] == 4
    assert found["wisp_gateway_audit_lines_lost_total"] == 5
    assert found["wisp_gateway_connections"] == 6
    assert found["wisp_gateway_certificate_failures_total"] == 8
    assert found["wisp_gateway_certificate_expiry_timestamp_seconds"] == 1_790_000_000
    assert found["wisp_gateway_ready"] == 1
    assert families["wisp_gateway_connections_closed_total"].samples["", "port=gateway", "reason=source"] == 7
    assert families["wisp_gateway_build_info"].samples == {("", f"version={__version__}"): 1}


def test_expiry_is_left_out_while_there_is_no_certificate() -> None:
    families = page(GatewayMetrics(), GAUGES._replace(certificate_expiry=None, ready=False))
    assert "wisp_gateway_certificate_expiry_timestamp_seconds" not in families
    assert families["wisp_gateway_ready"].samples == {("",): 0}


def test_requests_are_counted_by_result_and_duration() -> None:
    metrics = GatewayMetrics()
    metrics.answered("granted", 0.0002)
    metrics.answered("granted", 0.3)
    metrics.answered("forbidden", 0.02)
    families = page(metrics)
    assert families["wisp_gateway_requests_total"].samples["", "result=granted"] == 2
    assert families["wisp_gateway_requests_total"].samples["", "result=forbidden"] == 1
    seconds = families["wisp_gateway_request_seconds"].samples
    assert [seconds["_bucket", f"le={bound}"] for bound in REQUEST_BOUNDS] == [0, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3]


def test_reviews_are_counted_by_kind_and_result() -> None:
    metrics = GatewayMetrics()
    metrics.reviewed("token", "allowed", 0.002)
    metrics.reviewed("access", "denied", 0.004)
    metrics.reviewed("access", "unavailable", 5.0)
    families = page(metrics)
    reviews = families["wisp_gateway_reviews_total"].samples
    assert {labels[1:]: count for labels, count in reviews.items() if count} == {
        ("kind=token", "result=allowed"): 1,
        ("kind=access", "result=denied"): 1,
        ("kind=access", "result=unavailable"): 1,
    }
    assert families["wisp_gateway_review_seconds"].samples["_count",] == 3


@given(st.lists(st.tuples(st.sampled_from(CAUSES), st.none() | st.integers(1, 10**9)), max_size=200))
def test_exchanges_have_a_bounded_number_of_labels(exchanges: list[tuple[str, int | None]]) -> None:
    """Codes come from Entra, or from whatever answers in its place."""
    metrics = GatewayMetrics()
    for exchange in exchanges:
        metrics.exchanges.add(*exchange)
    families = page(metrics)
    if exchanges:
        samples = families["wisp_gateway_exchanges_total"].samples
        assert sum(samples.values()) == len(exchanges)
        assert len(samples) <= 64 + len(CAUSES)
