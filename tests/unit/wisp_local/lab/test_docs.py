"""The documentation of the lab names every command, option and file."""

import re
from pathlib import Path

import click
import pytest

from tests.support.paths import ROOT
from wisp_local.cli.lab import command
from wisp_local.lab.paths import LabPaths

TEXT = (ROOT / "docs/how-to/lab.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", command.commands)
def test_every_command_and_option_is_in_the_documentation(name: str) -> None:
    """In the tables of commands and options."""
    assert f"| `wisp lab {name}` |" in TEXT
    for parameter in command.commands[name].params:
        name_in_text = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.metavar
        assert f"`{name_in_text}" in TEXT


def test_every_file_is_in_the_documentation() -> None:
    """And no file that does not exist."""
    section = TEXT.partition("## Files in the lab's folder")[2].partition("\n## ")[0]
    cells = "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))
    named = set(re.findall(r"`([^`]+?)/?`", cells))
    paths = [path for path in vars(LabPaths(Path("/lab"))).values() if path != Path("/lab")]
    assert named == {path.relative_to("/lab").parts[0] for path in paths}
