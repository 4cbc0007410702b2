"""Processes that outlive the command that started them: found again by a file, and never mistaken for another.

A process id is used again after a while; together with the time at which its process started it is not (proc(5)).
"""

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PAUSE = 0.02  # seconds between looks
_START_TIME = 19  # field 22 of /proc/PID/stat, counted from behind the program's name


@dataclass(frozen=True)
class Lasting:
    """A process by its id and when it started, in clock ticks since the machine did."""

    pid: int
    started: int

    def is_running(self) -> bool:
        """Tell whether it still runs; one that has ended and was not waited for does not."""
        return _started(self.pid) == self.started

    def end(self, number: signal.Signals, within: float) -> bool:
        """Send the signal and wait; tell whether it has ended within as many seconds."""
        deadline = time.monotonic() + within
        if self.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        return True


def lasting(pid: int) -> Lasting | None:
    """Return the running process of that id."""
    started = _started(pid)
    return None if started is None else Lasting(pid, started)


def keep(path: Path, process: Lasting) -> None:
    """Write it down, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({"pid": process.pid, "started": process.started}), encoding="ascii")
    draft.replace(path)


def kept(path: Path) -> Lasting | None:
    """Return what `keep` wrote; None where there is nothing that could be it."""
    try:
        said = json.loads(path.read_text(encoding="ascii"))
        return Lasting(int(said["pid"]), int(said["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _started(pid: int) -> int | None:
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None
    fields = said.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[_START_TIME])
