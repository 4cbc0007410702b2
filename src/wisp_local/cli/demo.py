"""`wisp demo`: the walk-through on this machine, shown step by step."""

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from wisp_local.demo.command import DemoResult, launch, run_demo
from wisp_local.demo.steps import CLAIM_MEANINGS, STEPS, Step, abbreviate
from wisp_local.sandbox.modes import Mode, attempts
from wisp_local.sandbox.processes import base_environment
from wisp_local.sandbox.signals import unwinding

_MARGIN = 12  # columns for the names of claims


class Printer:
    """Prints each step as it runs: the commands on AKS, then what it did here.

    `color` None: if standard output is a terminal. A `quiet` printer prints nothing.
    """

    def __init__(self, *, color: bool | None, quiet: bool = False) -> None:
        self._color = color
        self._quiet = quiet

    def ready(self, description: Sequence[str]) -> None:
        """Print the title and the mode."""
        self._print(
            "Managed identity for an application that knows only the metadata service, on this machine.", bold=True
        )
        for line in description:
            self._print(line)

    def step_started(self, step: Step) -> None:
        """Print the title of a step, and the commands to type on AKS."""
        self._print("")
        self._print(f"{STEPS.index(step) + 1}/{len(STEPS)} {step.title}", bold=True)
        for line in step.on_aks.splitlines():
            self._print(f"  AKS  | {line}".rstrip(), dim=True)

    def step_done(self, step: Step, seconds: float, lines: list[str]) -> None:  # noqa: ARG002 -- an Output
        """Print what a step did here, and how long it took."""
        for line in lines:
            self._print(f"  here | {line}")
        self._print(f"  done in {seconds:.1f} s", fg="green")

    def finished(self, result: DemoResult, seconds: float) -> None:
        """Print the content of the token and what it means."""
        self._print("")
        self._print("The access token, decoded", bold=True)
        self._print(f"  {abbreviate(result.access_token.reveal())}; --json prints it whole")
        self._print("\n  header")
        for name, value in result.header.items():
            self._print(f"    {name:{_MARGIN}}{json.dumps(value)}")
        self._print("\n  claims (* what makes it this managed identity's)")
        for name, value in result.claims.items():
            self._print_claim(name, value)
        self._print("")
        self._print(f"All of it took {seconds:.1f} s; nothing of it is left on this machine.", bold=True)

    def _print_claim(self, name: str, value: object) -> None:
        if name not in CLAIM_MEANINGS:
            self._print(f"    {name:{_MARGIN}}{json.dumps(value)}")
            return
        self._print(f"  * {name:{_MARGIN}}{json.dumps(value)}", fg="cyan")
        date = f": {datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, int) else ""
        self._print(f"    {'':{_MARGIN}}{CLAIM_MEANINGS[name]}{date}")

    def _print(self, text: str, **style: object) -> None:
        if not self._quiet:
            click.echo(click.style(text, **style), color=self._color)  # type: ignore[arg-type]  # click's own


@click.command(name="demo")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end, and nothing else.")
@click.option(
    "--mode",
    type=click.Choice(["auto", *(mode.value for mode in Mode)]),
    default="auto",
    show_default=True,
    help="How to make the pod. auto takes the best mode that is possible.",
)
def command(mode: str, *, as_json: bool) -> None:
    """Run the whole walk-through on this machine, without a cluster.

    A local cloud, an identity, a federated credential, a pod with the sidecar, and an application in it that asks the
    metadata service. Nothing else on the machine is changed, and nothing is left.
    """
    start = time.monotonic()
    printer = Printer(color=False if os.environ.get("NO_COLOR") else None, quiet=as_json)
    environment = base_environment(os.environ)
    ways = attempts(None if mode == "auto" else Mode(mode), root=os.geteuid() == 0)
    with unwinding():
        result = run_demo(ways, printer, lambda attempt: launch(attempt, environment), environment["PATH"])
    if as_json:
        click.echo(json.dumps(document(result)))
    else:
        printer.finished(result, time.monotonic() - start)


def document(result: DemoResult) -> dict[str, object]:
    """Return the document that `--json` prints."""
    return {
        "mode": result.mode.value,
        "access_token": result.access_token.reveal(),
        "claims": result.claims,
        "header": result.header,
        "steps": [{"name": name, "seconds": seconds} for name, seconds in result.steps],
    }
