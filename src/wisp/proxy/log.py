"""The sidecar's log: one JSON object a line, on standard error. No token or assertion is ever a field.

It can neither fill a disk nor stop the sidecar: an event is written `MOST` times a minute at most, whatever a workload
does, and a line that the reader has no room for is left out. How many were is said in the next line.
"""

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress

from wisp.base.constants import LOG_LEVELS
from wisp.base.jsontext import to_json

MOST = 60
"""Lines of one event in a minute; those of level debug are not counted."""

_WINDOW = 60.0
_LONGEST_FIELD = 2048


class Log:
    """Write the events of `level` and above to `descriptor`; `clock` gives steady seconds."""

    def __init__(self, level: str, descriptor: int = 2, clock: Callable[[], float] = time.monotonic) -> None:
        self._enabled = frozenset(LOG_LEVELS[LOG_LEVELS.index(level) :])
        self.debugs = "debug" in self._enabled
        """Whether `debug` writes anything: on the warm path it is not even called otherwise."""
        self._descriptor = descriptor
        self._clock = clock
        self._written: dict[str, int] = {}
        self._window_ends = 0.0
        self._left_out = 0
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    def debug(self, event: str, **fields: object) -> None:
        """Say what is of use to whoever debugs a client."""
        if self.debugs:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Say that something of note went as it should."""
        self._count("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Say that something failed which may pass, or concerns one request."""
        self._count("warning", event, fields)

    def _count(self, level: str, event: str, fields: dict[str, object]) -> None:
        if level not in self._enabled:
            return
        now = self._clock()
        if now >= self._window_ends:
            self._window_ends = now + _WINDOW
            self._written.clear()
        self._written[event] = self._written.get(event, 0) + 1
        if self._written[event] <= MOST:
            self._write(level, event, fields)
        else:
            self._left_out += 1

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line: dict[str, object] = {"time": moment, "level": level, "event": event}
        line.update((name, _clipped(value)) for name, value in fields.items())
        if self._left_out:
            line["left_out"] = self._left_out
        if not self._room.poll(0):
            self._left_out += 1
            return
        self._left_out = 0
        with suppress(OSError):  # nobody may read the log any more; tokens are still wanted
            os.write(self._descriptor, to_json(line) + b"\n")


def _clipped(value: object) -> object:
    return value[:_LONGEST_FIELD] if isinstance(value, str) else value
