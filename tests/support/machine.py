"""Processes, network links, rules and mounts: what a demo uses while it runs, and could leave behind."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """The machine's links, rules and mounts, and whether the folders that a demo creates in its own /run exist."""

    links: frozenset[str]
    rules: str
    mounts: frozenset[str]
    run_folders: tuple[bool, ...]


def machine_state() -> Machine:
    """Return the state of the machine."""
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, check=True, text=True).stdout.splitlines()
    rules = subprocess.run(["nft", "--stateless", "list", "ruleset"], capture_output=True, check=True, text=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    run_folders = tuple(Path(path).exists() for path in ("/run/wisp", "/run/secrets/azure", "/var/run/secrets/azure"))
    return Machine(frozenset(line.split()[0] for line in links), rules, frozenset(mounts), run_folders)


@dataclass(frozen=True)
class Process:
    """A process. The start time (clock ticks since boot) distinguishes it from a later one with the same id."""

    pid: int
    started: str
    command: str
    uid: int
    capabilities: int
    namespaces: frozenset[str]

    @property
    def is_there(self) -> bool:
        """Tell whether it still exists, possibly as a zombie."""
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
    with contextlib.suppress(PermissionError):  # only root can see those of a process that holds tokens
        namespaces = frozenset(str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid", "user"))
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    uid, capabilities = int(fields["Uid"].split()[1]), int(fields["CapEff"], 16)
    return Process(pid, _stat(pid)[19], command, uid, capabilities, namespaces)


def all_processes() -> Iterator[tuple[int, int]]:
    """Return every process with its parent."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield int(entry.name), int(_stat(int(entry.name))[1])


def descendants(ancestor: int) -> list[Process]:
    """Return what `ancestor` has started, directly or not."""
    parents = dict(all_processes())
    found = []
    for pid in parents:
        line, current = [], pid
        while current in parents and current != ancestor:
            line.append(current)
            current = parents[current]
        if current == ancestor and line:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.append(_process(pid))
    return found


def ticks_since_boot() -> int:
    """Return clock ticks since boot, the unit of the start time of processes."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def members(namespaces: frozenset[str], started_by: int) -> list[int]:
    """Return the processes in one of the namespaces that were started before a time (clock ticks since boot).

    Later ones may be others: the kernel uses the number of a deleted namespace again.
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
    """Return the namespaces of the processes that this process is not in."""
    return frozenset().union(*(process.namespaces for process in processes)) - _process(os.getpid()).namespaces
