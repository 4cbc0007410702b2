"""docs/how-to/run.md lists variables and options."""

import re

import click

from tests.support.paths import ROOT
from wisp.imds.answer import endpoint_variables
from wisp_local.cli.run import command
from wisp_local.run.environment import CREDENTIAL_VARIABLES

DOCUMENT = (ROOT / "docs/how-to/run.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> str:
    """Return the first cells of the first table under a heading."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE))


def test_documentation_lists_every_variable() -> None:
    named = set(re.findall(r"`(\w+)`", first_cells("Environment of the command")))
    changed = {"AZURE_TOKEN_CREDENTIALS", "NO_PROXY", "no_proxy"}
    assert named == set(endpoint_variables("", "")) | CREDENTIAL_VARIABLES | changed


def test_documentation_lists_every_option() -> None:
    named = set(re.findall(r"--[\w-]+", first_cells("Options")))
    assert named == {
        name for option in command.params if isinstance(option, click.Option) for name in option.opts if name[1] == "-"
    }
