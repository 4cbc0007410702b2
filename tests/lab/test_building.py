"""Building by the tools of others: what is missing, what fails and what takes too long is said with its remedy."""

import sys
from pathlib import Path

import pytest

from wisp.errors import ToolError
from wisp.lab.building import build, cache_folder, must_have

FAILING = (sys.executable, "-c", "import sys; print('first\\n' * 30 + 'no space left'); sys.exit(3)")


@pytest.mark.parametrize("given, expected", [({"XDG_CACHE_HOME": "/x"}, "/x/wisp"), ({}, None)], ids=["xdg", "home"])
def test_cache(given: dict[str, str], expected: str | None) -> None:
    """Where the user's caches are."""
    assert str(cache_folder(given)) == (expected or str(Path.home() / ".cache" / "wisp"))


def test_a_missing_tool() -> None:
    """What was to be built, and what to install."""
    with pytest.raises(ToolError, match="Helm cannot be built: there is no no-such-go on PATH: install Go"):
        must_have("no-such-go", "Helm", "install Go")


def test_a_failure() -> None:
    """What the tool said last."""
    with pytest.raises(ToolError, match=r"building Helm failed[^\n]*\n(first\n){19}no space left"):
        build("Helm", FAILING)


def test_a_tool_that_cannot_be_started(tmp_path: Path) -> None:
    """It is there, and is no program."""
    program = tmp_path / "go"
    program.touch()
    with pytest.raises(ToolError, match="cannot be started"):
        build("Helm", [str(program)])


def test_folder_and_environment(tmp_path: Path) -> None:
    """It runs where it is told to, with more variables than ours."""
    build("it", ("sh", "-c", 'echo "$COLOUR $HOME" > said'), folder=tmp_path, environment={"COLOUR": "red"})
    assert (tmp_path / "said").read_text(encoding="utf-8") == f"red {Path.home()}\n"
