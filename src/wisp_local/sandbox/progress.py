"""Shows the progress of long operations: one line rewritten in place on a terminal, complete lines elsewhere."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

_REWRITE = 1.0  # seconds between two versions of the line on a terminal
_LINE = 20.0  # seconds between two lines elsewhere, such as the log of a CI job
_COLUMNS = 80  # of a terminal that does not say
_ERASE = "\r\x1b[K"  # return to column 1 and erase the line (ECMA-48, EL)


class Progress:
    """Shows complete lines and the current state of running operations. Several threads may report at once.

    `columns` returns the width of the terminal; None if `stream` is not one.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] | None = None,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._columns = columns
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
        self._shown: dict[str, float] = {}
        self._states: dict[str, str] = {}  # on the terminal now

    def line(self, text: str) -> None:
        """Print one or more complete lines."""
        with self._lock:
            self._write(f"{_ERASE if self._states else ''}{text}\n")

    @contextlib.contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Measure and report an operation until the block is left; a block for the same name inside has no effect."""
        if name in self._started:
            yield
            return
        with self._lock:
            self._started[name] = self._shown[name] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                del self._started[name], self._shown[name]
                if self._states.pop(name, None) is not None:
                    self._rewrite()

    def elapsed(self, name: str) -> str:
        """Return how long the operation has been running."""
        return duration(self._clock() - self._started[name])

    def update(self, name: str, state: str) -> None:
        """Report the state of an operation. It is shown if the interval since the last one has passed."""
        with self._lock:
            now = self._clock()
            if now - self._shown[name] < (_LINE if self._columns is None else _REWRITE):
                return
            self._shown[name] = now
            if self._columns is None:
                self._write(f"  {name}: {state}\n")
            else:
                self._states[name] = state
                self._rewrite()

    def _rewrite(self) -> None:
        columns = self._columns() if self._columns is not None else 0
        text = "  " + "; ".join(f"{name}: {state}" for name, state in self._states.items())
        self._write(_ERASE + text.rstrip()[: max(columns - 1, 0)])

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def to_stderr() -> Progress:
    """Return progress on standard error, which programs that read our output do not see."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return Progress(sys.stderr)
    return Progress(sys.stderr, columns=_columns)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except OSError:  # the terminal is gone
        return _COLUMNS


def duration(seconds: float) -> str:
    """Format a duration: "42 s", "3 min 42 s", "1 h 2 min"."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
