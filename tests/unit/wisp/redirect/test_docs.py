"""The documentation shows what is run."""

from tests.support.paths import ROOT


def test_documentation_has_the_script_that_plan_prints() -> None:
    plan = (ROOT / "tests/golden/redirect/up-nft.txt").read_text(encoding="utf-8")
    assert f"```sh\n{plan}```\n" in (ROOT / "docs/reference/redirect.md").read_text(encoding="utf-8")
