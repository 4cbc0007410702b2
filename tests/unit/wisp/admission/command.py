"""`wisp`, run in this process as its entry point runs it, with what it read and what it printed."""

from typing import NamedTuple

import click
from click.testing import CliRunner

from wisp.base.errors import WispError
from wisp.cli import wisp

TENANT = ("--tenant-id", "0f1e2d3c-0000-4000-8000-000000000001")


class Ran(NamedTuple):
    """How a command ended, and what it printed on each stream."""

    status: int
    printed: str
    noted: str


def run(command: click.Command, *arguments: str, text: str = "", environ: dict[str, str] | None = None) -> Ran:
    """Run a command with `text` for standard input."""
    result = CliRunner().invoke(command, arguments, input=text, env={"AZURE_TENANT_ID": "", **(environ or {})})
    error = result.exception
    if isinstance(error, WispError):
        return Ran(error.exit_status, result.stdout, f"{result.stderr}error: {error}\n")
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Ran(result.exit_code, result.stdout, result.stderr)


def inject(text: str, *arguments: str, environ: dict[str, str] | None = None) -> Ran:
    """Run `wisp inject` on `text`."""
    return run(wisp, "inject", "-f", "-", *TENANT, *arguments, text=text, environ=environ)
