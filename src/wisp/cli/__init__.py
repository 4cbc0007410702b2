"""The command line: one module a command group; the only place that wires the packages together."""

import importlib
from collections.abc import Sequence

import click

from wisp.cli.versioned import version_options
from wisp.errors import WispError

COMMANDS = {  # name -> help; a command's module is wisp.cli.NAME and its click command is called `command`
    "cloud": "Run a local Azure: Entra's token endpoint and OIDC issuers.",
    "demo": "Show the whole story on this machine, without a cluster.",
    "inject": "Put identities into manifests, as the webhook would.",
    "lab": "Keep a local Azure up for the real az and kubectl.",
    "redirect": "Send the pod's metadata traffic to the sidecar.",
    "run": "Run a command with a managed identity, on this machine.",
    "webhook": "Give pods their identity as they are made: the admission webhook.",
}


class _CommandsByName(click.Group):
    """Load a command's module only when the command is asked for, so that none pays for another's dependencies."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Name the commands that click runs."""
        return sorted(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- likewise
        """Write the commands' one-line helps without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted([*COMMANDS.items(), ("proxy", "Run the sidecar (see `wisp proxy --help`).")]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- likewise
        """Return the click command called `cmd_name`, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"wisp.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 -- a fault of ours, not of the input
        return command


@click.command(cls=_CommandsByName, context_settings={"help_option_names": ["-h", "--help"]})
@version_options
def wisp() -> None:
    """Give a workload its managed identity, without a secret anywhere."""


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; a `WispError` becomes one line on standard error."""
    try:
        status = wisp.main(args=list(arguments), prog_name="wisp", standalone_mode=False)
    except WispError as error:
        click.echo(f"wisp: {error}", err=True)
        return error.exit_status
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Abort:
        return 130
    return status if isinstance(status, int) else 0
