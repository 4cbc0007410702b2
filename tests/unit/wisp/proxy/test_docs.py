"""docs/reference/sidecar.md matches the program."""

import re

import pytest

from tests.support.fakes import token_request, token_target
from tests.support.paths import ROOT
from wisp.azure import CLOUDS
from wisp.base import log
from wisp.entra import freshness, process
from wisp.entra.tokens import MOST_WAITING
from wisp.http.connection import DEFAULT_LIMITS, Times
from wisp.http.messages import Request
from wisp.http.parser import BODY_LIMIT, HEAD_LIMIT, HEADERS_LIMIT, TARGET_LIMIT
from wisp.imds.answer import Refusal
from wisp.imds.dialects import APP_SERVICE, METADATA_SERVICE, SERVICE_FABRIC
from wisp.imds.request import LONGEST_RESOURCE, decide
from wisp.proxy.flags import USAGE
from wisp.proxy.metadata_proxy import MOST
from wisp.proxy.metrics import Metrics

DOCUMENT = (ROOT / "docs/reference/sidecar.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines[1:]]


def test_documented_usage_matches_the_program() -> None:
    assert f"```\n{USAGE}```\n" in DOCUMENT


def test_documented_clouds_match_the_program() -> None:
    known = [
        [
            cloud.name,
            *(", ".join(f"`{url}`" for url in urls) for urls in (cloud.authorities, (cloud.resource_manager,))),
        ]
        for cloud in CLOUDS
    ]
    assert rows("Clouds") == known


def test_documented_limits_match_the_program() -> None:
    limits = dict(rows("Limits"))
    assert limits["request head, header fields, request target"] == (
        f"{HEAD_LIMIT // 1024} KiB, {HEADERS_LIMIT}, {TARGET_LIMIT // 1024} KiB"
    )
    assert limits["request body"] == f"{BODY_LIMIT // 1024} KiB"
    times = Times()
    assert limits["time for a request to arrive"] == f"{times.message:g} s"
    assert limits["time for a client to read its responses"] == f"{times.write:g} s"
    assert limits["idle connection"] == f"{times.idle:g} s"
    assert limits["time to stop"] == f"{times.drain:g} s"
    assert limits["bytes held for all connections together"] == f"{DEFAULT_LIMITS.held >> 20} MiB"
    assert limits["requests that wait for Entra"] == str(MOST_WAITING)
    assert limits["concurrent requests to the node's metadata service"] == str(MOST)


def test_documented_metrics_match_the_program() -> None:
    page = Metrics().render(tokens=1, earliest_expiry=1).decode()
    assert {re.findall(r"wisp_\w+", row[0])[0] for row in rows("Metrics")} == set(re.findall(r"TYPE (\w+)", page))


def test_documented_log_events_and_levels_match_the_program() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src/wisp/proxy").glob("*.py"))
    written = {(event, level) for level, event in re.findall(r'log\.(debug|info|warning)\("([^"]+)"', sources)}
    assert written == {(event, row[1]) for row in rows("Log") for event in re.findall(r"`([^`]+)`", row[0])}


@pytest.mark.parametrize(
    "condition, request_",
    [
        ("no `Metadata: true`", token_request(metadata="")),
        ("`X-Forwarded-For` is present", token_request(x_forwarded_for="10.0.0.1")),
        ("no `api-version`, or one that", token_request(token_target(**{"api-version": "1"}))),
        ("no `resource`, one over", token_request(token_target("x" * (LONGEST_RESOURCE + 1)))),
        ("`resource` given twice", token_request(token_target() + "&resource=x")),
        ("another method", token_request(method=b"PUT")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_documented_errors_match_the_responses(condition: str, request_: Request) -> None:
    """The table's status and error are those of the response."""
    (row,) = (row for row in rows("Responses") if row[0].startswith(condition))
    refuse = decide(request_)
    assert isinstance(refuse, Refusal)
    assert (row[1][:3], row[2]) == (str(refuse.status), f"`{refuse.error}`")


@pytest.mark.parametrize(
    "sentence",
    [
        f"one over {LONGEST_RESOURCE:,} characters",
        f"at most {log.MOST} times a minute",
        "made again after {}, {} and {} seconds".format(*freshness.EVENTUAL_DELAYS),
        f"an exchange has {process.DEADLINE:g}, and the last of several begins within {freshness.EVENTUAL_WINDOW:g} of",
        f"less than {freshness.MARGIN / 60:g} minutes left",
        "AADSTS{}, {}, {} or {}".format(*sorted(freshness.EVENTUAL_CODES)),
        f"the {len(METADATA_SERVICE.versions)} published `api-version`s",
        f"{METADATA_SERVICE.versions[0]} to {METADATA_SERVICE.versions[-1]}, and every later date",
        "accepts {} and every later date, and Service Fabric's {}".format(
            *APP_SERVICE.versions, *SERVICE_FABRIC.versions
        ),
    ],
)
def test_documented_numbers_match_the_program(sentence: str) -> None:
    assert sentence in " ".join(DOCUMENT.split())
