"""The command line: one module a command group; the only place that wires the packages together."""

import contextlib
import importlib
from collections.abc import Sequence

import click

from wisp.base.errors import SettingError, WispError
from wisp.cli.versioned import version_options

_COMMANDS = {  # name -> module with a click command called `command`, help
    "inject": ("wisp.cli.inject", "Put identities into manifests, as the webhook would."),
    "proxy": ("", "Run the sidecar (see `wisp proxy --help`)."),
    "redirect": ("wisp.cli.redirect", "Send the pod's metadata traffic to the sidecar."),
    "webhook": ("wisp.cli.webhook", "Give pods their identity as they are made: the admission webhook."),
}
_LOCAL = ("cloud", "demo", "lab", "run")
"""Commands of the local Azure, for the hint where that is not installed."""


def commands() -> dict[str, tuple[str, str]]:
    """Return all commands that are installed: wisp's own and those of the entry-point group `wisp.commands`."""
    from importlib.metadata import entry_points  # noqa: PLC0415 -- it would cost the webhook 2 MB

    found = dict(_COMMANDS)
    for group in entry_points(group="wisp.commands"):
        with contextlib.suppress(ModuleNotFoundError):  # the image has the package's metadata, but not the local Azure
            found |= group.load()
    return found


class _CommandsByName(click.Group):
    """Load a command's module only when the command is asked for, so that none pays for another's dependencies."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Name the commands that click runs."""
        return sorted(name for name, (module, _) in commands().items() if module)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- likewise
        """Write the commands' one-line helps without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted((name, text) for name, (_, text) in commands().items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- likewise
        """Return the click command called `cmd_name`, or None."""
        module, _ = _COMMANDS.get(cmd_name) or commands().get(cmd_name, ("", ""))
        if not module:
            if cmd_name in _LOCAL:
                raise SettingError(
                    f"`wisp {cmd_name}` is not installed",
                    hint="install the local Azure: pip install 'wisp-proxy[local]'",
                )
            return None
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command)  # noqa: S101 -- a fault of ours, not of the input
        return command


@click.command(cls=_CommandsByName, context_settings={"help_option_names": ["-h", "--help"]})
@version_options
def wisp() -> None:
    """Give a workload its managed identity, without a secret anywhere."""


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; errors are printed on standard error."""
    try:
        status = wisp.main(args=list(arguments), prog_name="wisp", standalone_mode=False)
    except WispError as error:
        click.echo(error.report(), err=True, nl=False)
        return error.exit_status
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "wisp"
        click.echo(f"error: {error.format_message()}\nhint: `{command} --help` lists arguments and options", err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        return error.exit_code
    except click.exceptions.Abort:
        return 130
    return status if isinstance(status, int) else 0
