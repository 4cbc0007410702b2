"""Runs a build tool in a session of its own, so that it can be stopped with every process that it has started."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from wisp.base.errors import ToolError
from wisp_local.sandbox.signals import deferred

_TICK = 1.0  # seconds without output after which the reader gets control
_PATIENCE = 5.0  # seconds for a tool to end after a signal
_POLL = 0.05  # seconds
_CHUNK = 65536


@contextlib.contextmanager
def started(
    command: Sequence[str],
    folder: Path | None,
    environment: Mapping[str, str],
    *,
    interrupted: Callable[[], None] = lambda: None,
    patience: float = _PATIENCE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a tool whose output is read with `lines`. If the block raises, stop the tool and its whole process group.

    It gets SIGINT, after `patience` seconds SIGTERM, and then SIGKILL. It has a session of its own, so Ctrl-C in a
    terminal reaches only this process; `interrupted` is called then, before the tool is stopped. When the block is
    left, the tool has ended. Raise ToolError.
    """
    process = None
    try:
        with deferred():
            process = _start(command, folder, environment)
        yield process
        process.wait()
    except BaseException as error:
        if process is not None:
            with deferred():
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    interrupted()
                _stop(process, patience)
        raise
    finally:
        if process is not None and process.stdout is not None:
            process.stdout.close()


def _start(command: Sequence[str], folder: Path | None, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        problem = f"{command[0]} cannot be started ({error.strerror})"
        raise ToolError(problem, hint=f"reinstall {command[0]}") from error


def lines(process: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Return the lines that the tool prints until it closes its output; None about once a second without output."""
    assert process.stdout is not None  # noqa: S101 -- `started` makes the pipe
    descriptor, rest = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(_TICK):
                yield None
                continue
            chunk = os.read(descriptor, _CHUNK)
            *complete, rest = (rest + chunk).split(b"\n")
            for line in complete if chunk else [rest]:
                if text := line.decode(errors="replace").strip():
                    yield text
            if not chunk:
                return


def _stop(process: subprocess.Popen[bytes], patience: float) -> None:
    # SIGINT is first because go removes its work folder at that signal only.
    for number, seconds in ((signal.SIGINT, patience), (signal.SIGTERM, patience), (signal.SIGKILL, _PATIENCE)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not _is_running(process):
                return
            time.sleep(_POLL)


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether any process of the group is left; discard output, which may block the tool otherwise."""
    process.poll()
    if process.stdout is not None:
        os.set_blocking(process.stdout.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while os.read(process.stdout.fileno(), _CHUNK):
                pass
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
