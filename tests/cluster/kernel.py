"""What this machine's kernel says of the processes in a container: the node's are this machine's, too."""

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
    """A process by its id, and what /proc/PID/status says."""

    pid: int
    status: Mapping[str, str]

    @property
    def capabilities(self) -> set[int]:
        """Every capability mask: effective, permitted, inheritable, bounding, ambient."""
        return {int(self.status[f"Cap{each}"], 16) for each in ("Eff", "Prm", "Bnd", "Inh", "Amb")}

    @property
    def command(self) -> list[str]:
        """The command line."""
        return (_PROC / str(self.pid) / "cmdline").read_text(encoding="utf-8").split("\0")[:-1]

    def mount_options(self, place: str) -> list[str]:
        """Return how the file system at `place` is mounted for it: `ro` among others (proc(5), mountinfo)."""
        lines = (_PROC / str(self.pid) / "mountinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split()[5].split(",") for line in lines if line.split()[4] == place)


def processes(container_id: str) -> list[Process]:
    """Return the processes of a container, the oldest first; `container_id` as a pod's status has it."""
    group = container_id.rpartition("//")[2]
    return list(_those(lambda folder: group in (folder / "cgroup").read_text(encoding="utf-8")))


def those_with(*words: str) -> list[Process]:
    """Return the processes that have all of these words on their command lines."""
    wanted = {word.encode() for word in words}
    return list(_those(lambda folder: wanted <= set((folder / "cmdline").read_bytes().split(b"\0"))))


@contextmanager
def watched(*words: str) -> Iterator[list[Process]]:
    """Look for processes with these words on their command lines until the block ends; those seen are in the list.

    That is how one is caught that runs for a moment only.
    """
    ended = threading.Event()
    found: list[Process] = []

    def look() -> None:
        while not ended.is_set():
            for each in those_with(*words):
                if each.pid not in {seen.pid for seen in found}:
                    found.append(each)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _those(holds: Callable[[Path], bool]) -> Iterator[Process]:
    """Give the processes of whose folder something holds; those that end meanwhile are left out."""
    for pid in sorted(int(each.name) for each in _PROC.iterdir() if each.name.isdigit()):
        with suppress(OSError):
            if holds(_PROC / str(pid)):
                yield Process(pid, _status(pid))


def _status(pid: int) -> Mapping[str, str]:
    lines = (_PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def memory(container_id: str) -> tuple[int, int]:
    """Return what a container uses at most and may use, in bytes, as its control group says (either version)."""
    name = container_id.rpartition("//")[2]
    (group,) = {each.parent for each in _CGROUPS.glob(f"**/{name}/memory.*")}
    for used, limit in (
        ("memory.max_usage_in_bytes", "memory.limit_in_bytes"),
        ("memory.peak", "memory.max"),
    ):
        if (group / limit).exists():
            return int((group / used).read_text()), int((group / limit).read_text())
    raise AssertionError(f"{group} says nothing of memory")
