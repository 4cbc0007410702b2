"""docs/reference/siege.md has the cases that are run, and the figures that they are held to."""

import pytest

from tests.siege.cases import GROUPS, table
from tests.siege.runner import MOST_MEMORY, ROUNDS
from tests.siege.targets import LIMIT, PROBE_PATIENCE, REVIEW_PATIENCE
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs/reference/siege.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("group", GROUPS)
def test_the_tables_are_the_cases(group: str) -> None:
    """`python -m tests.siege.cases` prints them as they have to be."""
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
def test_the_numbers(sentence: str) -> None:
    """They are the suite's."""
    assert sentence
    assert sentence in DOCUMENT
