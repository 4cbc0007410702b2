"""The node's first process: hides this machine's folders, starts the node's programs, and starts again what ends.

It is process 1 of its PID namespace: when it ends, the kernel ends all of the node, pods included, and takes mounts and
network away. Like every first process it waits for those whose parents have ended, the container runtime's shims.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from wisp.lab.cluster.layout import Layout
from wisp.lab.cluster.programs import Program
from wisp.lab.mounts import mount_tmpfs

_COVERED = (Path("/run"), Path("/var/log"))
"""What Kubernetes, containerd and CNI plugins write to by fixed names."""
_AGAIN = 0.5  # seconds before a program that ended is started again


def read_programs(layout: Layout) -> tuple[Program, ...]:
    """Return what `write_programs` wrote."""
    wanted = json.loads(layout.wanted.read_text(encoding="utf-8"))
    return tuple(Program(name, tuple(command)) for name, command in wanted)


def write_programs(layout: Layout, wanted: tuple[Program, ...]) -> None:
    """Write down what the node's inside is to run."""
    layout.wanted.write_text(json.dumps([(each.name, each.command) for each in wanted]), encoding="utf-8")


@dataclass(frozen=True)
class Supervisor:
    """Runs the node's programs in `layout`'s folder, each with a log of its own."""

    layout: Layout

    def start(self, program: Program) -> int:
        """Start it and return its process id."""
        with (self.layout.logs / f"{program.name}.log").open("ab") as log:
            started = subprocess.Popen(
                program.command,
                cwd=self.layout.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.returncode = 0  # whoever is process 1 waits for all alike
        return started.pid

    def keep(self, programs: tuple[Program, ...]) -> None:
        """Have all of them run, for ever."""
        running = {self.start(each): each for each in programs}
        while True:
            ended, _ = os.wait()
            program = running.pop(ended, None)
            if program is not None:
                time.sleep(_AGAIN)
                running[self.start(program)] = program


def main(folder: str) -> None:
    """Be the node whose folder that is."""
    signal.signal(signal.SIGTERM, _end)
    layout = Layout(Path(folder))
    for each in _COVERED:
        mount_tmpfs(each)
    _make_one_kind_of_cgroups()
    Supervisor(layout).keep(read_programs(layout))


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _make_one_kind_of_cgroups() -> None:
    """Leave version 1 alone where both versions are mounted: crun refuses the mixture."""
    with contextlib.suppress(OSError):
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], stderr=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main(sys.argv[1])
