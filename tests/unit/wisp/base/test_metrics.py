"""The text exposition format, as Prometheus parses it."""

from tests.unit.wisp.proxy.exposition import parse
from wisp.base.metrics import Histogram, family


def test_buckets_are_cumulative_and_include_their_bound() -> None:
    """A duration equal to a bound is in its bucket; one above all bounds only in +Inf."""
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.1, 0.5, 2.0):
        histogram.observe(seconds)
    text = family("wisp_seconds", "histogram", "Durations.", histogram.samples())
    samples = parse(text)["wisp_seconds"].samples
    assert samples["_bucket", "le=0.1"] == 1
    assert samples["_bucket", "le=1.0"] == 2
    assert samples["_bucket", "le=+Inf"] == samples["_count",] == 3
    assert samples["_sum",] == 2.6


def test_family_without_samples_has_its_help_and_type() -> None:
    """Prometheus accepts such a family."""
    assert family("wisp_x", "counter", "Text.", {}) == "# HELP wisp_x Text.\n# TYPE wisp_x counter\n"
