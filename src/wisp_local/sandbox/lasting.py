"""Processes that outlive the command that started them: found again by a file, and never mistaken for another.

A process id is used again after a while; together with the time at which its process started it is not (proc(5)).
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from wisp.base.files import write_atomically

_PAUSE = 0.02  # seconds between looks
_START_TIME = 19  # field 22 of /proc/PID/stat, counted from behind the program's name
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ENDED = "ZX"  # states of a process that has ended and was not waited for


@dataclass(frozen=True)
class Lasting:
    """A process by its id and when it started, in words that only its own system can compare."""

    pid: int
    started: str

    def is_running(self) -> bool:
        """Tell whether it still runs; one that has ended and was not waited for does not."""
        return lasting(self.pid) == self

    def end(self, number: signal.Signals, within: float) -> bool:
        """Send the signal and wait; tell whether it has ended within as many seconds."""
        deadline = time.monotonic() + within
        self._send(number)
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        return True

    def _send(self, number: signal.Signals) -> None:
        """Signal it. Where the kernel has handles on processes, its id cannot change hands between look and signal."""
        with contextlib.suppress(ProcessLookupError):
            if not hasattr(os, "pidfd_open"):
                if self.is_running():
                    os.kill(self.pid, number)
                return
            handle = os.pidfd_open(self.pid)
            try:
                if self.is_running():
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


def lasting(pid: int) -> Lasting | None:
    """Return the running process of that id."""
    started = started_by_proc(pid) if _BOOT.exists() else started_by_ps(pid)
    return None if started is None else Lasting(pid, started)


def keep(path: Path, process: Lasting) -> None:
    """Write it down, whole or not at all."""
    write_atomically(path, json.dumps({"pid": process.pid, "started": process.started}))


def kept(path: Path) -> Lasting | None:
    """Return what `keep` wrote; None where there is nothing that could be it."""
    try:
        said = json.loads(path.read_text(encoding="ascii"))
        return Lasting(int(said["pid"]), str(said["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def started_by_proc(pid: int) -> str | None:
    """Read when the process started: in clock ticks since the machine did, so which start that was belongs to it."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    fields = said.rpartition(")")[2].split()
    return None if fields[0] in _ENDED else f"{boot} {fields[_START_TIME]}"


def started_by_ps(pid: int) -> str | None:
    """Ask ps, which every system has and which is exact to the second."""
    command = ("ps", "-o", "stat=,lstart=", "-p", str(pid))
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    state, _, started = said.strip().partition(" ")
    return started.strip() if state and state[0] not in _ENDED else None
