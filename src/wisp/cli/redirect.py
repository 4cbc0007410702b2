"""`wisp redirect`: install, remove, show or plan the redirect."""

import json
from collections.abc import Callable, Iterable
from typing import TypeVar

import click

from wisp import SIDECAR_UID
from wisp.base.errors import WispError
from wisp.redirect import apply
from wisp.redirect.apply import LocalMachine
from wisp.redirect.plan import Choice, Rule, Tool, as_shell, parse_address
from wisp.redirect.script import METADATA_IP, METADATA_PORT

_Function = TypeVar("_Function", bound=Callable[..., None])


def _rule_options(function: _Function) -> _Function:
    for option in reversed(
        (
            click.option(
                "--proxy-port", type=int, default=8000, show_default=True, help="Port of the sidecar on 127.0.0.1."
            ),
            click.option(
                "--proxy-uid",
                type=int,
                default=SIDECAR_UID,
                show_default=True,
                help="User ID of the sidecar, whose traffic is not redirected.",
            ),
            click.option(
                "--metadata-ip", default=METADATA_IP, show_default=True, help="IPv4 address of the metadata service."
            ),
            click.option(
                "--metadata-port",
                type=int,
                default=METADATA_PORT,
                show_default=True,
                help="TCP port of the metadata service.",
            ),
            click.option(
                "--backend",
                type=click.Choice([choice.value for choice in Choice]),
                default=Choice.AUTO.value,
                show_default=True,
                help="Tool that installs the rule; auto prefers nft to iptables.",
            ),
        )
    ):
        function = option(function)
    return function


@click.group(name="redirect")
def command() -> None:
    """Redirect the pod's metadata traffic to the sidecar.

    Works on the network namespace in which it runs, and needs CAP_NET_ADMIN there. This is a convenience and not a
    security boundary: processes that can become the sidecar's user or send raw packets can bypass it.
    """


@command.command()
@_rule_options
def up(backend: str, metadata_ip: str, **numbers: int) -> None:
    """Install or update the redirect. Running it again changes nothing."""
    rule = Rule(metadata_ip=parse_address(metadata_ip), **numbers)
    done = apply.up(LocalMachine(), rule, Choice(backend))
    _note(done.notes)
    click.echo(_sentence(done.tools[0], rule))


@command.command()
@_rule_options
def plan(backend: str, metadata_ip: str, **numbers: int) -> None:
    """Print what `up` would run, as a shell script, without running it."""
    rule = Rule(metadata_ip=parse_address(metadata_ip), **numbers)
    planned = apply.plan(LocalMachine(), rule, Choice(backend))
    _note(planned.notes)
    click.echo(as_shell(planned.steps), nl=False)


@command.command()
def down() -> None:
    """Remove the redirect, whichever tool installed it. It is not an error if there is none."""
    done = apply.down(LocalMachine())
    _note(done.notes)
    held = ", ".join(tool.backend.value for tool in done.tools)
    click.echo(f"the redirect is removed ({held})" if held else "no redirect was in force")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of a sentence.")
def show(*, as_json: bool) -> None:
    """Show the redirects in force. The exit status is 1 if there are none."""
    shown = apply.show(LocalMachine())
    _note(shown.notes)
    if as_json:
        click.echo(json.dumps({"redirects": [_record(tool, rule) for tool, rule in shown.redirects]}))
    else:
        for tool, rule in shown.redirects:
            click.echo(_sentence(tool, rule))
    if not shown.redirects:
        raise WispError("no redirect is in force in this network namespace", hint="`wisp redirect up` installs one")


def _sentence(tool: Tool, rule: Rule) -> str:
    return f"{rule} ({tool.backend.value})"


def _record(tool: Tool, rule: Rule) -> dict[str, str | int]:
    return {
        "backend": tool.backend.value,
        "proxy_port": rule.proxy_port,
        "proxy_uid": rule.proxy_uid,
        "metadata_ip": str(rule.metadata_ip),
        "metadata_port": rule.metadata_port,
    }


def _note(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)
