"""docs/reference/siege.md lists the cases and the limits of the suite."""

import pytest

from tests.siege.cases import GROUPS, table
from tests.siege.runner import MOST_MEMORY, ROUNDS
from tests.siege.targets import LIMIT, PROBE_PATIENCE, REVIEW_PATIENCE
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs/reference/siege.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("group", GROUPS)
def test_documented_tables_match_the_cases(group: str) -> None:
    """`python -m tests.siege.cases` prints them."""
    assert f"\n## Attacks on the {group}\n" in DOCUMENT
    section = DOCUMENT.split(f"\n## Attacks on the {group}\n")[1].split("\n## ")[0]
    assert table(group) in section


@pytest.mark.parametrize(
    "sentence",
    [
        f"stayed under {MOST_MEMORY:g} MB",
        f"cgroup of {LIMIT >> 20} MiB",
        f"within {REVIEW_PATIENCE:g} s, an API server's default",
        f"within {PROBE_PATIENCE:g} s, the `timeoutSeconds` of the chart's probes",
        "at least three times while" if ROUNDS == 3 else "",
    ],
)
def test_documented_numbers_match_the_suite(sentence: str) -> None:
    assert sentence
    assert sentence in DOCUMENT
