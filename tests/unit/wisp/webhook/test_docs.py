"""docs/reference/webhook.md says what is: options, metrics, log, limits, and the rights that are used."""

import re

import click
import pytest

from tests.support.paths import ROOT
from tests.unit.wisp.proxy.exposition import parse
from wisp.admission import types as limits
from wisp.base.constants import CLOCK_TOLERANCE
from wisp.certificates import controller, issuer_process
from wisp.certificates.decision import Lifetimes
from wisp.cli.policy import policy_options
from wisp.cli.webhook import command
from wisp.http.asyncio_process import BYTES, CONNECTIONS, HEALTH_CONNECTIONS, TIMES
from wisp.webhook import accounts, review_cache
from wisp.webhook.metrics import Gauges, WebhookMetrics

DOCUMENT = (ROOT / "docs/reference/webhook.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines[1:]]


def _names(options: list[click.Parameter]) -> set[str]:
    return {option.opts[0] for option in options}


def test_documented_options_match_the_program() -> None:
    serve = command.commands["serve"]
    policy = click.command()(policy_options(lambda policy: policy))
    documented = {name for row in rows("Options of the process") for name in re.findall(r"`(--[a-z-]+)`", row[0])}
    assert documented == _names(serve.params) - _names(policy.params)
    assert serve.context_settings["auto_envvar_prefix"] == "WISP_ADMISSION"


def test_documented_metrics_match_the_program() -> None:
    metrics = WebhookMetrics()
    metrics.reviews["changed"] += 1
    metrics.durations.observe(0.002)
    gauges = Gauges(
        accounts=1,
        account_reads=4,
        connections=2,
        certificate_expiry=3.0,
        ready=True,
        certificate_failures=0,
        connections_closed={"reviews": {"source": 1}},
    )
    families = parse(metrics.render(gauges).decode())
    assert {re.findall(r"wisp_\w+", row[0])[0] for row in rows("Metrics")} == set(families)
    histogram = families["wisp_webhook_review_seconds"].samples
    assert histogram["_count",] == 1
    assert histogram["_bucket", "le=0.001"] == 0
    assert histogram["_bucket", "le=0.0025"] == 1


def test_documented_log_events_match_the_program() -> None:
    folders = (ROOT / "src/wisp/webhook", ROOT / "src/wisp/certificates")
    files = [ROOT / "src/wisp/http/asyncio_process.py", *(path for folder in folders for path in folder.rglob("*.py"))]
    sources = "".join(path.read_text() for path in files)
    found = re.findall(r'log\.(info|warning|debug)\(\s*"([^"]+)"(?: if \w+ else "([^"]+)")?', sources)
    written = {(event, level) for level, *events in found for event in events if event}
    written |= {(event, "info") for event in re.findall(r'event(?:, reason)? = "([^"]+)"', sources)}
    assert written == {(event, row[1]) for row in rows("Log") for event in re.findall(r"`([^`]+)`", row[0])}


@pytest.mark.parametrize(
    "sentence",
    [
        f"within {accounts.READ_TIMEOUT:g} seconds",
        f"not read again for {accounts.MISSING_SECONDS:g} seconds",
        f"Therefore {accounts.CONCURRENT_READS} accounts",
        f"{accounts.QUEUE_LIMIT} more of each wait",
        f"Up to {accounts.MISSING_LIMIT:,} missing accounts",
        f"reviews of up to {review_cache.REVIEW_LIMIT >> 10} KiB",
        f"{review_cache.CACHE_LIMIT >> 20} MiB of them at most",
        f"over {limits.MAX_REVIEW / (1 << 20):g} MiB",
        f"A request has {TIMES.message:g} seconds to arrive, a TLS handshake {TIMES.handshake:g}",
        f"kept for {TIMES.idle:g} seconds",
        f"{CONNECTIONS} connections for reviews and {HEALTH_CONNECTIONS} for health",
        f"{BYTES >> 20} MiB",
        f"every {controller.LONGEST_PAUSE / 60:g} minutes",
        f"begin {CLOCK_TOLERANCE / 60:g} minutes before",
        "(eight at most)" if issuer_process.AUTHORITY_LIMIT == 8 else "",
        "ten minutes later" if Lifetimes().settling == 600 else "",
    ],
)
def test_documented_numbers_match_the_program(sentence: str) -> None:
    assert sentence
    assert sentence in " ".join(DOCUMENT.split())
