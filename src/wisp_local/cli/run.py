"""`wisp run`: a command with a managed identity, on this machine."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from wisp.base.errors import PrivilegeError, WispError
from wisp.imds.answer import endpoint_variables
from wisp.imds.request import TOKEN_PATH
from wisp_local.run.client import (
    Log,
    Service,
    enter_namespaces,
    exec_command,
    names_at_start,
    open_log,
    start_attendant,
    start_attendant_in_namespaces,
)
from wisp_local.run.environment import (
    LOOPBACK,
    METADATA_ADDRESS,
    command_environment,
    local_environment,
    original_environment,
    sidecar_environment,
)
from wisp_local.run.messages import Ready
from wisp_local.run.options import DAY, DEFAULT_IDENTITY, Authority, Flags, LocalCloud, Prepared, choose, prepare
from wisp_local.sandbox.folders import home_folder
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.processes import base_environment

_FILE = click.Path(path_type=Path)
_ATTEMPTS = (Attempt(Mode.ROOT, several_users=False), Attempt(Mode.USERNS, several_users=False))


@click.command(name="run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--identity",
    metavar="NAME",
    help=f"Name of the local cloud's identity, created if new (default: {DEFAULT_IDENTITY}).",
)
@click.option("--client-id", metavar="ID", help="Client id of an existing identity, instead of its name.")
@click.option(
    "--intercept", is_flag=True, help="Run the command in a network of its own where 169.254.169.254 answers."
)
@click.option(
    "--state", type=_FILE, metavar="FILE", help="State file of the local cloud (default: ~/.local/state/wisp/run.db)."
)
@click.option(
    "--token-lifetime",
    type=click.IntRange(1),
    metavar="S",
    help=f"Lifetime of the local cloud's tokens in seconds (default: {DAY}).",
)
@click.option("--authority-host", metavar="URL", help="URL of the real Entra to use instead of a local cloud.")
@click.option("--tenant", metavar="ID", help="Real Entra: tenant of the identity.")
@click.option("--federated-token-file", type=_FILE, metavar="FILE", help="Real Entra: file with the assertion.")
@click.option("--authority-ca", type=_FILE, metavar="FILE", help="Real Entra: PEM file of further CAs to trust.")
@click.option("-v", "--verbose", is_flag=True, help="Print the identity, the token endpoint and the path of the log.")
@click.argument("command_line", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(command_line: tuple[str, ...], *, verbose: bool, **flags: object) -> None:
    """Run a command with a managed identity, on this machine.

    Without a cluster and without Azure: a local cloud issues the tokens. With --tenant, --client-id and
    --federated-token-file, Entra issues real ones. The command finds the token endpoint by the variables that every
    Azure SDK reads. The exit status is the command's own.
    """
    if not sys.platform.startswith("linux"):
        raise WispError("wisp run needs Linux, as the sidecar does", hint="run it in a container or a VM")
    environ = original_environment(os.environ, names_at_start())
    parsed = Flags(**flags)  # type: ignore[arg-type]  # click has checked them
    prepared = prepare(choose(parsed), environ, home_folder())
    for note in prepared.notes:
        click.echo(f"note: {note}", err=True)
    log = open_log(prepared.state)
    service = _start(prepared.authority, environ, log, intercept=parsed.intercept)
    if verbose:
        _describe(service, prepared, log)
    enter_namespaces(service.namespaces)
    exec_command(command_line, _environment(environ, service.ready))


def _start(authority: Authority, environ: Mapping[str, str], log: Log, *, intercept: bool) -> Service:
    base = base_environment(environ)
    is_local = isinstance(authority, LocalCloud)
    environment = local_environment(environ, base) if is_local else sidecar_environment(environ, base)
    if not intercept:
        return start_attendant(authority, environment, log)
    attempts = _ATTEMPTS if os.geteuid() == 0 else _ATTEMPTS[1:]
    outcome = start_attendant_in_namespaces(authority, attempts, environment, log)
    if isinstance(outcome, Service):
        return outcome
    reasons = "; ".join(f"{failed.attempt.mode.value}: {failed.reason}" for failed in outcome)
    raise PrivilegeError(
        f"--intercept is not possible here ({reasons})", hint="run the command without it; see docs/how-to/run.md"
    )


def _environment(environ: Mapping[str, str], ready: Ready) -> dict[str, str]:
    if ready.header is None:  # intercepted: the command needs no variables
        return command_environment(environ, {}, METADATA_ADDRESS)
    return command_environment(environ, endpoint_variables(_endpoint(ready), ready.header.reveal()), LOOPBACK)


def _endpoint(ready: Ready) -> str:
    return f"http://{METADATA_ADDRESS if ready.header is None else f'{LOOPBACK}:{ready.port}'}{TOKEN_PATH}"


def _describe(service: Service, prepared: Prepared, log: Log) -> None:
    click.echo(f"wisp: client id {service.ready.client_id}", err=True)
    click.echo(f"wisp: tokens are at {_endpoint(service.ready)}", err=True)
    if isinstance(prepared.authority, LocalCloud):
        state = prepared.authority.state or "deleted when the command ends"
        click.echo(f"wisp: the local cloud's state is {state}", err=True)
    click.echo(f"wisp: the log is {log.path or 'in no folder'}", err=True)
