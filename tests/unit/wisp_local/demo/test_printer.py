"""What `wisp demo` prints."""

import json
import re
from pathlib import Path

import pytest

from wisp.base.secret import Secret
from wisp.cli import main
from wisp_local.cli.demo import Printer, document
from wisp_local.demo.command import DemoResult
from wisp_local.demo.steps import STEPS
from wisp_local.sandbox.modes import Attempt, Mode, describe

GOLDEN = Path(__file__).parent / "golden" / "demo.txt"


RESULT = DemoResult(
    Mode.ROOT,
    Secret("eyJ0eXAiOiJKV1QiLCJ4" + "s" * 1500),
    {"typ": "JWT", "alg": "RS256"},
    {"aud": "https://management.azure.com/", "tid": "a tenant", "xms_cae": "1", "xms_tcdt": 1645137228},
    tuple((step.name, 0.25) for step in STEPS),
)


def print_demo(printer: Printer) -> None:
    """Tell a whole story."""
    printer.ready(describe(Attempt(Mode.ROOT, several_users=True), ()))
    for step in STEPS:
        printer.step_started(step)
        printer.step_done(step, 0.25, [f"what {step.name} was here"])
    printer.finished(RESULT, 1.75)


def test_demo_is_printed_like_the_golden_file(capsys: pytest.CaptureFixture[str]) -> None:
    print_demo(Printer(color=None))
    assert capsys.readouterr().out == GOLDEN.read_text(encoding="utf-8")


def test_token_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_demo(Printer(color=None))
    assert "sss" not in capsys.readouterr().out


def test_coloured_text_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_demo(Printer(color=True))
    shown = capsys.readouterr().out
    assert "\x1b[" in shown
    assert re.sub(r"\x1b\[\d+m", "", shown) == GOLDEN.read_text(encoding="utf-8")


def test_json_document_has_the_documented_keys() -> None:
    made = json.loads(json.dumps(document(RESULT)))
    assert list(made) == ["mode", "access_token", "claims", "header", "steps"]
    assert made["access_token"] == RESULT.access_token.reveal()
    assert made["steps"][0] == {"name": "cluster", "seconds": 0.25}


@pytest.mark.parametrize(
    "arguments, status, complaint",
    [
        (["--mode", "container"], 2, "'container' is not one of"),
        (["--mode"], 2, "requires an argument"),
        (["here"], 2, "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_arguments_are_rejected(
    arguments: list[str], status: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *arguments]) == status
    assert complaint in capsys.readouterr().err
