"""Runs `wisp` in this process, and returns its exit status and what it printed."""

from typing import NamedTuple

import click
from click.testing import CliRunner

from wisp.base.errors import WispError
from wisp.cli import wisp

TENANT = ("--tenant-id", "0f1e2d3c-0000-4000-8000-000000000001")


class CommandResult(NamedTuple):
    """The exit status of a command, and what it printed."""

    status: int
    stdout: str
    stderr: str


def run(
    command: click.Command, *arguments: str, text: str = "", environ: dict[str, str] | None = None
) -> CommandResult:
    """Run a command with `text` as standard input."""
    result = CliRunner().invoke(command, arguments, input=text, env={"AZURE_TENANT_ID": "", **(environ or {})})
    error = result.exception
    if isinstance(error, WispError):
        return CommandResult(error.exit_status, result.stdout, f"{result.stderr}error: {error}\n")
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return CommandResult(result.exit_code, result.stdout, result.stderr)


def inject(text: str, *arguments: str, environ: dict[str, str] | None = None) -> CommandResult:
    """Run `wisp inject` on `text`."""
    return run(wisp, "inject", "-f", "-", *TENANT, *arguments, text=text, environ=environ)
