"""A memory control group of cgroups(7), version 1 or 2, that bounds a process and all its children.

What counts as used is everything that the kernel charges to the group: anonymous memory, kernel memory and TCP buffers.
Version 2 has one counter for all of it. Version 1 counts TCP buffers separately, and they are added. The page cache of
files is charged, too; it is reclaimable, and belongs to the group that read a file first. `reset` drops it; files that
are read after that count.
"""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.support.waiting import wait_until
from wisp_local.lab.node.node import cgroup_hierarchies

ROOT = Path("/sys/fs/cgroup")
_BETWEEN_SAMPLES = 0.02
"""Seconds. Samples add to the kernel's own peak what it does not record: the sum of both counters of version 1."""


class Version(NamedTuple):
    """The files of one version; a file that a kernel lacks is skipped, unless it is a limit that matters."""

    limits: tuple[str, ...]
    optional_limits: tuple[str, ...]
    used: tuple[str, ...]
    peak: str
    events: str


V1 = Version(
    limits=("memory.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes"),
    optional_limits=("memory.memsw.limit_in_bytes",),
    used=("memory.usage_in_bytes", "memory.kmem.tcp.usage_in_bytes"),
    peak="memory.max_usage_in_bytes",
    events="memory.oom_control",
)
"""https://docs.kernel.org/admin-guide/cgroup-v1/memory.html. The TCP counter works only once it has a limit."""
V2 = Version(
    limits=("memory.max",),
    optional_limits=(),
    used=("memory.current",),
    peak="memory.peak",
    events="memory.events",
)
"""https://docs.kernel.org/admin-guide/cgroup-v2.html#memory"""


class Usage(Protocol):
    """What tells how many bytes are used at this moment."""

    def used(self) -> int:
        """Return the bytes in use."""


def memory_hierarchy(root: Path = ROOT) -> Path | None:
    """Return the hierarchy in which memory is controlled; None if none can be written."""
    if not root.is_dir():
        return None
    for hierarchy in cgroup_hierarchies(root):
        if hierarchy == root and "memory" in (root / "cgroup.controllers").read_text(encoding="ascii").split():
            return root
        if (hierarchy / "memory.limit_in_bytes").exists():
            return hierarchy
    return None


class MemoryGroup:
    """One group, `limit` bytes large, without swap."""

    def __init__(self, name: str, limit: int, hierarchy: Path) -> None:
        self._folder = hierarchy / name
        self.version = V2 if (hierarchy / "cgroup.controllers").exists() else V1
        if self.version is V2:
            with contextlib.suppress(OSError):  # it is on already
                (hierarchy / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
        self._folder.mkdir()
        for file in self.version.limits:
            self._write(file, str(limit))
        for file in self.version.optional_limits:
            self._attempt(file, str(limit))
        if self.version is V2:
            self._attempt("memory.swap.max", "0")
        self._peak = None if self.version is V1 else self._open_peak()

    def _open_peak(self) -> "_ResettablePeak | None":
        """Open the peak for resetting, which Linux can do from 6.12 on; None where it cannot."""
        with contextlib.suppress(OSError):
            return _ResettablePeak(self._folder / self.version.peak)
        return None

    @property
    def wrapper(self) -> tuple[str, ...]:
        """The command that starts the command behind it in this group."""
        return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._folder / "cgroup.procs"))

    def used(self) -> int:
        """Return the bytes in use."""
        return sum(int(self._read(file)) for file in self.version.used)

    def reset(self) -> None:
        """Drop the page cache and begin a new peak."""
        if self.version is V1:
            self._attempt("memory.force_empty", "0")
            self._write(self.version.peak, "0")
        else:
            self._attempt("memory.reclaim", str(1 << 30))  # as much as there is
            if self._peak is not None:
                self._peak.reset()

    def peak(self) -> int:
        """Return the kernel's own peak since `reset`; 0 where this kernel cannot begin a new one."""
        if self.version is V1:
            return int(self._read(self.version.peak))
        return 0 if self._peak is None else self._peak.read()

    def out_of_memory_kills(self) -> int:
        """Count the processes that the kernel killed for want of memory."""
        lines = (line.split() for line in self._read(self.version.events).splitlines())
        return next(int(value) for key, value in lines if key == "oom_kill")

    def remove(self) -> None:
        """Remove the group, whose processes have been killed: they leave it a moment later."""
        if self._peak is not None:
            self._peak.close()
        wait_until(self._removed, f"{self._folder} is empty")

    def _removed(self) -> bool:
        with contextlib.suppress(OSError):
            self._folder.rmdir()
        return not self._folder.exists()

    def _read(self, file: str) -> str:
        return (self._folder / file).read_text(encoding="ascii")

    def _write(self, file: str, text: str) -> None:
        (self._folder / file).write_text(text, encoding="ascii")

    def _attempt(self, file: str, text: str) -> None:
        """Write where the kernel has the file: some are built without swap accounting; reclaiming stops short."""
        with contextlib.suppress(OSError):
            self._write(file, text)


class _ResettablePeak:
    """memory.peak, which begins again for the descriptor through which something was written to it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+", encoding="ascii")
        try:
            self.reset()
        except OSError:
            self._file.close()
            raise

    def reset(self) -> None:
        self._file.seek(0)
        self._file.write("reset\n")
        self._file.flush()

    def read(self) -> int:
        self._file.seek(0)
        return int(self._file.read())

    def close(self) -> None:
        self._file.close()


class Highest:
    """The most that was in use while it was watched."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self.value = 0

    def sample(self) -> None:
        """Take what is in use at this moment into account."""
        self.value = max(self.value, self._usage.used())


@contextmanager
def watched(group: MemoryGroup) -> Iterator[Highest]:
    """Watch the group's memory from a peak that begins now until the block ends; then `value` is the peak in bytes."""
    group.reset()
    highest, over = Highest(group), threading.Event()

    def watch() -> None:
        while not over.wait(_BETWEEN_SAMPLES):
            highest.sample()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield highest
    finally:
        over.set()
        watcher.join()
        highest.value = max(highest.value, group.peak())
