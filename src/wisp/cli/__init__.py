"""The command line: one module for each command group. Only these modules connect the packages."""

import contextlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from wisp.base.errors import SettingError, WispError
from wisp.base.version import FORMS, version_text

_COMMANDS = {  # name -> module with a click command called `command`, help
    "gateway": ("wisp.cli.gateway", "Exchange tokens for the workloads of a cluster, with one federated credential."),
    "inject": ("wisp.cli.inject", "Inject identities into manifests, as the webhook does."),
    "proxy": ("", "Run the sidecar (see `wisp proxy --help`)."),
    "redirect": ("wisp.cli.redirect", "Redirect the pod's metadata traffic to the sidecar."),
    "webhook": ("wisp.cli.webhook", "Run the admission webhook, which gives pods their identity."),
}
_LOCAL = ("cloud", "demo", "lab", "run")
"""Commands of the local Azure, for the hint if it is not installed."""


def commands() -> dict[str, tuple[str, str]]:
    """Return the installed commands: wisp's own and those of the entry-point group `wisp.commands`."""
    from importlib.metadata import entry_points  # noqa: PLC0415 -- it would cost the webhook 2 MB

    found = dict(_COMMANDS)
    for group in entry_points(group="wisp.commands"):
        with contextlib.suppress(ModuleNotFoundError):  # the image has the package's metadata, but not the local Azure
            found |= group.load()
    return found


class _CommandsByName(click.Group):
    """Load the module of a command only when that command runs, so that no command loads another's dependencies."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names of the commands that click runs."""
        return sorted(name for name, (module, _) in commands().items() if module)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- the same
        """Write one line of help for each command without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted((name, text) for name, (_, text) in commands().items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- the same
        """Return the click command called `cmd_name`, or None."""
        module, _ = _COMMANDS.get(cmd_name) or commands().get(cmd_name, ("", ""))
        if not module and cmd_name not in _LOCAL:
            return None
        try:
            command = importlib.import_module(module or "wisp_local").command
        except ModuleNotFoundError as missing:
            extra = "local" if cmd_name in _LOCAL else "cli"
            raise SettingError(
                f"`wisp {cmd_name}` is not installed completely ({missing.name} is missing)",
                hint=f"pip install 'wisp-proxy[{extra}]'",
            ) from None
        assert isinstance(command, click.Command)  # noqa: S101 -- an error of ours, not of the input
        return command


_FORM = "wisp.base.version.form"

C = TypeVar("C", bound=Callable[..., Any])


def version_options(command: C) -> C:
    """Add `--version` and `-o` to a command. Their order does not matter."""
    version = click.option(
        "--version",
        is_flag=True,
        expose_value=False,
        allow_from_autoenv=False,
        callback=_print,
        help="Print version, commit, Python and platform, and exit.",
    )
    output = click.option(
        "--output",
        "-o",
        type=click.Choice(FORMS),
        is_eager=True,  # it is read before --version is
        expose_value=False,
        allow_from_autoenv=False,
        callback=_remember,
        help="Format of --version.  [default: text]",
    )
    return version(output(command))


def _remember(context: click.Context, _parameter: click.Parameter, form: str | None) -> None:
    context.meta[_FORM] = form


def _print(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 -- click's signature
    form = context.meta[_FORM]
    if wanted:
        click.echo(version_text(form or "text"), nl=False)
        context.exit()
    if form is not None:
        raise click.UsageError("-o is given without --version.", context)


@click.command(cls=_CommandsByName, context_settings={"help_option_names": ["-h", "--help"]})
@version_options
def wisp() -> None:
    """Give workloads their managed identity, without a secret."""


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
