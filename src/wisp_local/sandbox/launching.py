"""Starts the lab's inside in namespaces of its own, and ends it whatever happens to this process.

Three things end it: its standard input, which ends with this process; the signal that the kernel sends `unshare` when
its parent dies; and the one that it sends `unshare`'s child when `unshare` does. That child is the first process of its
namespace: with it the kernel ends all others there, and takes network, mounts and memory away.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from wisp_local.sandbox.image import in_place, this_interpreter
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.users import ends_with_parent

_GRACE = 10  # seconds for the inside to end when told to


@dataclass(frozen=True)
class Inside:
    """A started inside: what it tells, line by line, and what it complained of once that has ended."""

    lines: IO[bytes]
    complaints: IO[bytes]

    def last_words(self) -> str:
        """Return the last line of its complaints: what `unshare` or Python ended with."""
        said = self.complaints.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(said) if line.strip()), "it ended without a word")


def namespaces(attempt: Attempt) -> tuple[str, ...]:
    """Write the command prefix that puts a program into namespaces of its own, which end with it."""
    if attempt.mode is Mode.LOOPBACK:
        return ()
    own = ("--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child")
    return (*ends_with_parent(), *unshare(attempt, *own))


def unshare(attempt: Attempt, *own: str) -> tuple[str, ...]:
    """Write the command prefix for namespaces of the kinds `own`, and of its user's where that is the mode."""
    users = ("--user", "--map-root-user") if attempt.mode is Mode.USERNS else ()
    subordinate = ("--map-auto",) if users and attempt.several_users else ()
    return ("unshare", *users, *subordinate, *own, "--")


@contextlib.contextmanager
def launch(attempt: Attempt, environment: Mapping[str, str]) -> Iterator[Inside]:
    """Start the inside for `attempt`; when the block is left, it has ended and nothing is left of it."""
    image = in_place(this_interpreter())
    users = "several" if attempt.several_users else "one"
    with _private_folder(attempt) as folder:
        command = (*namespaces(attempt), image.python, "-m", "wisp_local.demo", attempt.mode.value, users, folder)
        with subprocess.Popen(
            command,
            env={**environment, **image.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us; we tell the inside
        ) as started:
            assert started.stdout is not None  # noqa: S101 -- asked for
            assert started.stderr is not None  # noqa: S101 -- likewise
            try:
                yield Inside(started.stdout, started.stderr)
            finally:
                _end(started)


@contextlib.contextmanager
def _private_folder(attempt: Attempt) -> Iterator[str]:
    """Make the folder for what has no memory of its own to keep things in."""
    if attempt.mode is not Mode.LOOPBACK:
        yield "-"
        return
    with tempfile.TemporaryDirectory(prefix="wisp-demo-", ignore_cleanup_errors=True) as folder:
        yield folder


def _end(started: subprocess.Popen[bytes]) -> None:
    """Let go of the inside and wait for it; whoever cannot wait has it killed."""
    try:
        assert started.stdin is not None  # noqa: S101 -- asked for
        started.stdin.close()
        started.wait(_GRACE)
    except BaseException:
        started.kill()
        raise
