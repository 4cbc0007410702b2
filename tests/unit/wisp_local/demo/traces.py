"""What a demo could leave on a machine: looks for it, and at a demo while it runs."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """The machine's own links, rules and mounts, and what is under /run that a demo makes in its own."""

    links: frozenset[str]
    rules: str
    mounts: frozenset[str]
    made: tuple[bool, ...]


def look() -> Machine:
    """Look at the machine."""
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, check=True, text=True).stdout.splitlines()
    rules = subprocess.run(["nft", "--stateless", "list", "ruleset"], capture_output=True, check=True, text=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    made = tuple(Path(each).exists() for each in ("/run/wisp", "/run/secrets/azure", "/var/run/secrets/azure"))
    return Machine(frozenset(line.split()[0] for line in links), rules, frozenset(mounts), made)


@dataclass(frozen=True)
class Process:
    """A process, told from another that has its number later by when it was started (clock ticks since boot)."""

    pid: int
    started: str
    command: str
    uid: int
    capabilities: int
    namespaces: frozenset[str]

    @property
    def is_there(self) -> bool:
        """Tell whether it still is, be it as one that nobody has waited for."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return _stat(self.pid)[19] == self.started
        return False


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _process(pid: int) -> Process:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    namespaces: frozenset[str] = frozenset()
    with contextlib.suppress(PermissionError):  # a process that holds tokens, of which only root can tell
        namespaces = frozenset(str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid", "user"))
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    uid, capabilities = int(fields["Uid"].split()[1]), int(fields["CapEff"], 16)
    return Process(pid, _stat(pid)[19], command, uid, capabilities, namespaces)


def all_processes() -> Iterator[tuple[int, int]]:
    """Give every process with its parent."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield int(entry.name), int(_stat(int(entry.name))[1])


def descendants(ancestor: int) -> list[Process]:
    """Return what `ancestor` has started, directly or not."""
    parents = dict(all_processes())
    found = []
    for pid in parents:
        line, each = [], pid
        while each in parents and each != ancestor:
            line.append(each)
            each = parents[each]
        if each == ancestor and line:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.append(_process(pid))
    return found


def now() -> int:
    """Return clock ticks since boot, which is what processes' starts are told in."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def members(namespaces: frozenset[str], started_by: int) -> list[int]:
    """Return the processes in one of the namespaces that had been started by then (clock ticks since boot).

    Later ones may be anybody's: the kernel gives the number of a namespace that is gone to the next one.
    """
    found = []
    for pid, _ in all_processes():
        with contextlib.suppress(OSError):
            if int(_stat(pid)[19]) <= started_by and any(
                str(Path(f"/proc/{pid}/ns/{kind}").readlink()) in namespaces for kind in ("net", "mnt", "pid", "user")
            ):
                found.append(pid)
    return found


def own_namespaces(processes: list[Process]) -> frozenset[str]:
    """Return those of their namespaces that this process is not in."""
    return frozenset().union(*(each.namespaces for each in processes)) - _process(os.getpid()).namespaces
