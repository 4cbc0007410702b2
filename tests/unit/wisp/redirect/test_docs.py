"""The documentation shows what is run."""

from tests.support.paths import ROOT


def test_the_plan_in_the_documentation_is_the_plan() -> None:
    """The script in docs/reference/redirect.md is, to the letter, what `plan` prints."""
    plan = (ROOT / "tests/golden/redirect/up-nft.txt").read_text(encoding="utf-8")
    assert f"```sh\n{plan}```\n" in (ROOT / "docs/reference/redirect.md").read_text(encoding="utf-8")
