"""Commands of `wisp redirect` that need no privileges."""

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from wisp.cli import main

GOLDEN = ROOT / "tests" / "golden" / "redirect"


@pytest.fixture(autouse=True)
def _no_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_plan_needs_neither_tools_nor_privileges(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the plan for nft, with a note on standard error."""
    arguments = ["--proxy-port=9000", "--proxy-uid=0", "--metadata-ip=10.0.0.1", "--metadata-port=8080"]
    assert main(["redirect", "plan", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.out == (GOLDEN / "up-nft-other-settings.txt").read_text(encoding="utf-8")
    assert printed.err == "note: --backend auto finds no tool on PATH; this is the script for nft\n"


@pytest.mark.parametrize(
    "arguments, status, complaint",
    [
        (["up", "--proxy-port=0"], 2, "--proxy-port is 0"),
        (["plan", "--proxy-uid=4294967295"], 2, "--proxy-uid is 4294967295"),
        (["up", "--metadata-ip=::1"], 2, "--metadata-ip is '::1'"),
        (["up", "--proxy-port=many"], 2, "'many' is not a valid integer"),
        (["up", "--backend=pf"], 2, "'pf' is not one of"),
        (["up"], 1, "apt-get install nftables"),
        (["down"], 1, "apt-get install nftables"),
        (["show"], 1, "apt-get install nftables"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_error_has_an_exit_status_and_a_message(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, complaint: str
) -> None:
    assert main(["redirect", *arguments]) == status
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.out == ""
