"""`wisp run`: a command with a managed identity, on this machine."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from wisp.base.errors import PrivilegeError, WispError
from wisp.imds.answer import endpoint_variables
from wisp.imds.request import TOKEN_PATH
from wisp_local.cli.failure import log_shown
from wisp_local.run.becoming import become, enter, names_at_start
from wisp_local.run.calling import Attended, call, call_in_namespaces
from wisp_local.run.environment import (
    LOOPBACK,
    METADATA_ADDRESS,
    as_started,
    for_command,
    for_local_parts,
    for_parts,
)
from wisp_local.run.messages import Ready
from wisp_local.run.places import Log, Settled, open_log, settle
from wisp_local.run.wanted import DAY, DEFAULT_IDENTITY, Authority, Flags, LocalCloud, choose
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.processes import base_environment

_FILE = click.Path(path_type=Path)
_WAYS = (Attempt(Mode.ROOT, several_users=False), Attempt(Mode.USERNS, several_users=False))


@click.command(name="run", context_settings={"allow_interspersed_args": False})
@click.option("--identity", metavar="NAME", help=f"Identity of the local cloud, made when new.  [{DEFAULT_IDENTITY}]")
@click.option("--client-id", metavar="ID", help="Identity by its client id.")
@click.option("--intercept", is_flag=True, help="Give the command a network of its own, where 169.254.169.254 answers.")
@click.option("--state", type=_FILE, metavar="FILE", help="State of the local cloud.  [~/.local/state/wisp/run.db]")
@click.option(
    "--token-lifetime",
    type=click.IntRange(1),
    metavar="S",
    help=f"Seconds that the local cloud's tokens live.  [{DAY}]",
)
@click.option("--authority-host", metavar="URL", help="Real Entra instead of a local cloud; this one.")
@click.option("--tenant", metavar="ID", help="Real Entra: the identity's tenant.")
@click.option("--federated-token-file", type=_FILE, metavar="FILE", help="Real Entra: the assertion to exchange.")
@click.option("--authority-ca", type=_FILE, metavar="FILE", help="PEM file of CAs to trust for the authority, too.")
@click.option("-v", "--verbose", is_flag=True, help="Say which identity, where it is asked for, and where the log is.")
@click.argument("command_line", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(command_line: tuple[str, ...], *, verbose: bool, **flags: object) -> None:
    """Run a command with a managed identity, on this machine.

    No cluster, no Azure: tokens are a local cloud's, or real ones by --tenant, --client-id and --federated-token-file.
    The command is told where to ask by the variables that every Azure SDK reads. Its exit status is its own.
    """
    if not sys.platform.startswith("linux"):
        raise WispError("wisp run needs Linux, as the sidecar does", hint="run it in a container or a VM")
    environ = as_started(os.environ, names_at_start())
    wanted = Flags(**flags)  # type: ignore[arg-type]  # click has checked them
    settled = settle(choose(wanted), environ, _home())
    for note in settled.notes:
        click.echo(f"note: {note}", err=True)
    log = open_log(settled.keeps)
    with log_shown():
        attended = _call(settled.authority, environ, log, intercept=wanted.intercept)
    if verbose:
        _describe(attended, settled, log)
    enter(attended.namespaces)
    become(command_line, _environment(environ, attended.ready))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor the user's entry in the list of users says
        return None


def _call(authority: Authority, environ: Mapping[str, str], log: Log, *, intercept: bool) -> Attended:
    base = base_environment(environ)
    parts = for_local_parts(environ, base) if isinstance(authority, LocalCloud) else for_parts(environ, base)
    if not intercept:
        return call(authority, parts, log)
    outcome = call_in_namespaces(authority, _WAYS if os.geteuid() == 0 else _WAYS[1:], parts, log)
    if isinstance(outcome, Attended):
        return outcome
    why = "; ".join(f"{each.attempt.mode.value}: {each.why}" for each in outcome)
    raise PrivilegeError(f"--intercept is not possible here ({why})", hint="do without it; see docs/how-to/run.md")


def _environment(environ: Mapping[str, str], ready: Ready) -> dict[str, str]:
    """Return the command's environment; one that is intercepted is told nothing."""
    if ready.header is None:
        return for_command(environ, {}, METADATA_ADDRESS)
    return for_command(environ, endpoint_variables(_endpoint(ready), ready.header.reveal()), LOOPBACK)


def _endpoint(ready: Ready) -> str:
    return f"http://{METADATA_ADDRESS if ready.header is None else f'{LOOPBACK}:{ready.port}'}{TOKEN_PATH}"


def _describe(attended: Attended, settled: Settled, log: Log) -> None:
    click.echo(f"wisp: client id {attended.ready.client_id}", err=True)
    click.echo(f"wisp: tokens are at {_endpoint(attended.ready)}", err=True)
    if isinstance(settled.authority, LocalCloud):
        click.echo(f"wisp: the local cloud's state is {settled.authority.state or 'gone with the command'}", err=True)
    click.echo(f"wisp: the log is {log.path or 'in no folder'}", err=True)
