"""Signals that end a command: they unwind the stack, so that programs are stopped and temporary files removed."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from wisp.base.errors import WispError

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise SystemExit, as Ctrl-C raises KeyboardInterrupt, until the block is left."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _unwind)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _unwind(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defer signals that would unwind the stack until the block is left: a second Ctrl-C must not stop a cleanup.

    Python handles signals in the main thread only; in other threads this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {number: handler for number in _ENDING if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])


def run_program(main: Callable[[], int]) -> int:
    """Run a `python -m` program and return its exit status; a signal unwinds it and shows no traceback.

    A WispError is printed on standard error and gives the exit status.
    """
    try:
        with unwinding():
            return main()
    except WispError as error:
        sys.stderr.write(error.report())
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
