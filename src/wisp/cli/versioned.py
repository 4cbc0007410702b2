"""The options `--version` and `-o` of every command group."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from wisp.base.version import FORMS, version_text

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
