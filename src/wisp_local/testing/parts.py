"""Processes beside a test run: they end with it, and hear nothing of its terminal, its proxies or its settings."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import wisp
from wisp_local.sandbox.processes import Component, FailedError, Place, base_environment, beside
from wisp_local.sandbox.tied import tied

START = 30.0
"""Seconds to come up: a machine that runs tests may be busy."""


def here() -> Place:
    """Return this machine as a place for programs; of the environment they get what finds programs and packages."""
    own = str(Path(wisp.__file__).parents[1])
    paths = [each for each in (os.environ.get("PYTHONPATH"), own) if each]
    return Place((), {**base_environment(os.environ), "PYTHONPATH": os.pathsep.join(paths)})


@contextlib.contextmanager
def start(name: str, place: Place, log: Path, *module: str) -> Iterator[Component]:
    """Run a Python module with its arguments until the block is left, or this process ends.

    What it said is noted on the error that tells that it failed, for pytest to show.
    """
    with beside(name, place, log, *tied(module[0]), *module[1:]) as component:
        try:
            yield component
        except FailedError as error:
            for line in error.log:
                error.add_note(line)
            raise
