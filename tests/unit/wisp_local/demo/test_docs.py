"""docs/tutorials/demo.md lists the steps and modes."""

from tests.support.paths import ROOT
from wisp_local.demo.steps import STEPS
from wisp_local.sandbox.modes import TOOLS, Attempt, Mode, describe, missing_tools

TEXT = (ROOT / "docs/tutorials/demo.md").read_text(encoding="utf-8")


def test_every_step_is_in_the_documentation() -> None:
    for number, step in enumerate(STEPS, 1):
        assert f"\n| {number} `{step.name}` | " in TEXT


def test_every_mode_is_in_the_documentation() -> None:
    for mode in Mode:
        assert f"\n| `{mode.value}` | " in TEXT


def test_documented_description_of_loopback_is_what_is_printed() -> None:
    lost = missing_tools(Attempt(Mode.ROOT, several_users=True), set(TOOLS) - {"ip", "nft"})
    assert lost is not None
    assert "\n".join(describe(Attempt(Mode.LOOPBACK, several_users=False), (lost,))) in TEXT
