"""The log of the sidecar and the webhook: one JSON object per line, on standard error.

No field may hold a token, an assertion, a key or the content of a Secret. The log can neither fill a disk nor block the
process: an event is written at most `MOST` times a minute, whatever a client does, and a line is dropped if the reader
has no room for it. The next line says how many were dropped.
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
        """Whether `debug` writes anything: otherwise the hot path does not even call it."""
        self._descriptor = descriptor
        self._clock = clock
        self._written: dict[str, int] = {}
        self._window_ends = 0.0
        self._left_out = 0
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    def debug(self, event: str, **fields: object) -> None:
        """Write an event that helps to debug a client."""
        if self.debugs:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Write an event of normal operation."""
        self._write_limited("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write a failure that may be temporary, or concerns one request."""
        self._write_limited("warning", event, fields)

    def _write_limited(self, level: str, event: str, fields: dict[str, object]) -> None:
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
        for name, value in fields.items():
            line[name] = value[:_LONGEST_FIELD] if isinstance(value, str) else value
        if self._left_out:
            line["left_out"] = self._left_out
        if not self._room.poll(0):
            self._left_out += 1
            return
        self._left_out = 0
        with suppress(OSError):  # the reader may be gone; the process serves on
            os.write(self._descriptor, to_json(line) + b"\n")
