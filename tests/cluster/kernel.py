"""The processes in a container, as this machine's kernel sees them: the node's processes are this machine's, too."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

NET_ADMIN = 1 << 12
"""CAP_NET_ADMIN in a capability mask (linux/capability.h)."""
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Process:
    """A process, with the fields of /proc/PID/status."""

    pid: int
    status: Mapping[str, str]

    @property
    def capabilities(self) -> set[int]:
        """The masks of effective, permitted, bounding, inheritable and ambient capabilities."""
        return {int(self.status[f"Cap{kind}"], 16) for kind in ("Eff", "Prm", "Bnd", "Inh", "Amb")}

    @property
    def command(self) -> list[str]:
        """The command line."""
        return (_PROC / str(self.pid) / "cmdline").read_text(encoding="utf-8").split("\0")[:-1]

    def mount_options(self, place: str) -> list[str]:
        """Return the options with which its file system at `place` is mounted, such as `ro` (proc(5), mountinfo)."""
        lines = (_PROC / str(self.pid) / "mountinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split()[5].split(",") for line in lines if line.split()[4] == place)


def processes(container_id: str) -> list[Process]:
    """Return the processes of a container, the oldest first; `container_id` is from a pod's status."""
    group = container_id.rpartition("//")[2]
    return list(_processes(lambda folder: group in (folder / "cgroup").read_text(encoding="utf-8")))


def processes_with(*words: str) -> list[Process]:
    """Return the processes whose command lines have all of these words."""
    wanted = {word.encode() for word in words}
    return list(_processes(lambda folder: wanted <= set((folder / "cmdline").read_bytes().split(b"\0"))))


@contextmanager
def watch_processes(*words: str) -> Iterator[list[Process]]:
    """Search for processes with these words on their command lines until the block ends, and collect them in the list.

    It finds a process that runs only for a moment.
    """
    ended = threading.Event()
    found: list[Process] = []

    def look() -> None:
        while not ended.is_set():
            for process in processes_with(*words):
                if process.pid not in {known.pid for known in found}:
                    found.append(process)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _processes(holds: Callable[[Path], bool]) -> Iterator[Process]:
    """Give the processes for whose folder `holds` returns true; those that end meanwhile are skipped."""
    for pid in sorted(int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit()):
        with suppress(OSError):
            if holds(_PROC / str(pid)):
                yield Process(pid, _status(pid))


def _status(pid: int) -> Mapping[str, str]:
    lines = (_PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def memory(container_id: str) -> tuple[int, int]:
    """Return the peak and the limit of a container's memory in bytes, from its control group (either version)."""
    name = container_id.rpartition("//")[2]
    (group,) = {file.parent for file in _CGROUPS.glob(f"**/{name}/memory.*")}
    for used, limit in (
        ("memory.max_usage_in_bytes", "memory.limit_in_bytes"),
        ("memory.peak", "memory.max"),
    ):
        if (group / limit).exists():
            return int((group / used).read_text()), int((group / limit).read_text())
    raise AssertionError(f"{group} has no memory limit")
