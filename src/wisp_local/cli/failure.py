"""What a command prints besides the error when one of the parts that it started has failed."""

import contextlib
from collections.abc import Iterator

import click

from wisp_local.sandbox.processes import FailedError


@contextlib.contextmanager
def log_shown() -> Iterator[None]:
    """Print what a failing part said, before the error."""
    try:
        yield
    except FailedError as error:
        for line in error.log:
            click.echo(f"  {line}", err=True)
        raise
