"""`wisp demo`: the walk-through on this machine, told step by step."""

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from wisp_local.cli.failure import log_shown
from wisp_local.demo.claims import MEANING, abbreviated
from wisp_local.demo.outside import Told, play
from wisp_local.demo.story import STEPS, Step
from wisp_local.sandbox.launching import launch
from wisp_local.sandbox.modes import Mode, attempts
from wisp_local.sandbox.processes import base_environment
from wisp_local.sandbox.signals import unwinding

_MARGIN = 12  # columns for the names of claims


class Silence:
    """Tells nothing: the document at the end is all."""

    def opened(self, description: Sequence[str]) -> None:
        """Say nothing."""

    def begun(self, step: Step) -> None:
        """Say nothing."""

    def done(self, step: Step, seconds: float, here: list[str]) -> None:
        """Say nothing."""


class Teller:
    """Tells each step as it runs: what it is on AKS, then what it was here. `color` None: where a terminal shows it."""

    def __init__(self, *, color: bool | None) -> None:
        self._color = color

    def opened(self, description: Sequence[str]) -> None:
        """Say what the lab is made of."""
        self._say(
            "Managed identity for an application that knows only the metadata service, on this machine.", bold=True
        )
        for line in description:
            self._say(line)

    def begun(self, step: Step) -> None:
        """Say what the step is, and what one types for it on AKS."""
        self._say("")
        self._say(f"{STEPS.index(step) + 1}/{len(STEPS)} {step.title}", bold=True)
        for line in step.on_aks.splitlines():
            self._say(f"  AKS  | {line}".rstrip(), dim=True)

    def done(self, step: Step, seconds: float, here: list[str]) -> None:  # noqa: ARG002 -- a Narrator
        """Say what it was here, and how long it took."""
        for line in here:
            self._say(f"  here | {line}")
        self._say(f"  done in {seconds:.1f} s", fg="green")

    def ended(self, told: Told, seconds: float) -> None:
        """Show what the token says and what of it matters."""
        self._say("")
        self._say("The access token, decoded", bold=True)
        self._say(f"  {abbreviated(told.access_token.reveal())}; --json prints it whole")
        self._say("\n  header")
        for name, value in told.header.items():
            self._say(f"    {name:{_MARGIN}}{json.dumps(value)}")
        self._say("\n  claims (* what makes it this managed identity's)")
        for name, value in told.claims.items():
            self._claim(name, value)
        self._say("")
        self._say(f"All of it took {seconds:.1f} s; nothing of it is left on this machine.", bold=True)

    def _claim(self, name: str, value: object) -> None:
        if name not in MEANING:
            self._say(f"    {name:{_MARGIN}}{json.dumps(value)}")
            return
        self._say(f"  * {name:{_MARGIN}}{json.dumps(value)}", fg="cyan")
        date = f": {datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, int) else ""
        self._say(f"    {'':{_MARGIN}}{MEANING[name]}{date}")

    def _say(self, text: str, **style: object) -> None:
        click.echo(click.style(text, **style), color=self._color)  # type: ignore[arg-type]  # click's own


@click.command(name="demo")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end, and nothing else.")
@click.option(
    "--mode",
    type=click.Choice(["auto", *(each.value for each in Mode)]),
    default="auto",
    show_default=True,
    help="How to make the pod; auto takes the best that is possible.",
)
def command(mode: str, *, as_json: bool) -> None:
    """Show the whole story on this machine, without a cluster.

    A local cloud, an identity, a federated credential, a pod with the sidecar, and an application in it that asks the
    metadata service. Nothing outside of it is touched, and nothing is left.
    """
    begun = time.monotonic()
    teller = Teller(color=False if os.environ.get("NO_COLOR") else None)
    environment = base_environment(os.environ)
    ways = attempts(None if mode == "auto" else Mode(mode), root=os.geteuid() == 0)
    with unwinding(), log_shown():
        told = play(ways, Silence() if as_json else teller, lambda way: launch(way, environment), environment["PATH"])
    if as_json:
        click.echo(json.dumps(document(told)))
    else:
        teller.ended(told, time.monotonic() - begun)


def document(told: Told) -> dict[str, object]:
    """Make what `--json` prints."""
    return {
        "mode": told.mode.value,
        "access_token": told.access_token.reveal(),
        "claims": told.claims,
        "header": told.header,
        "steps": [{"name": name, "seconds": seconds} for name, seconds in told.steps],
    }
