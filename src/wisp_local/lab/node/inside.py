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

from wisp_local.lab.node.layout import Layout
from wisp_local.lab.node.programs import Program
from wisp_local.sandbox.mounts import mount_tmpfs

_COVERED = (Path("/run"), Path("/var/log"))
"""What Kubernetes, containerd and CNI plugins write to by fixed names."""
_ICMP_RATE_LIMIT = Path("/proc/sys/net/ipv4/icmp_ratelimit")
"""Zero: connections that are rejected fail at once, however many there are (icmp(7)). It is the network namespace's."""
_AGAIN = 0.5  # seconds before a program that ended is started again


@dataclass(frozen=True)
class Plan:
    """What the node's inside runs: the `programs`, and `first`, which has to succeed before those that need the API."""

    programs: tuple[Program, ...]
    first: Program


def read_plan(layout: Layout) -> Plan:
    """Return what `write_plan` wrote."""
    *programs, first = (
        Program(name, tuple(command), needs_api)
        for name, command, needs_api in json.loads(layout.wanted.read_text(encoding="utf-8"))
    )
    return Plan(tuple(programs), first)


def write_plan(layout: Layout, plan: Plan) -> None:
    """Write down what the node's inside is to run."""
    every = [(each.name, each.command, each.needs_api) for each in (*plan.programs, plan.first)]
    layout.wanted.write_text(json.dumps(every), encoding="utf-8")


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

    def keep(self, plan: Plan) -> None:
        """Start all of the plan's programs, in its order, and start again each one that ends. Does not return."""
        at_once = [each for each in plan.programs if not each.needs_api]
        running = {self.start(each): each for each in (*at_once, plan.first)}
        while True:
            ended, status = os.wait()
            program = running.pop(ended, None)
            if program is plan.first and status == 0:
                running |= {self.start(each): each for each in plan.programs if each.needs_api}
            elif program is not None:
                time.sleep(_AGAIN)
                running[self.start(program)] = program


def main(folder: str) -> None:
    """Be the node whose folder that is."""
    signal.signal(signal.SIGTERM, _end)
    layout = Layout(Path(folder))
    for each in _COVERED:
        mount_tmpfs(each)
    _make_one_kind_of_cgroups()
    with contextlib.suppress(OSError):  # read-only in some containers: then only the first few fail at once
        _ICMP_RATE_LIMIT.write_text("0", encoding="ascii")
    Supervisor(layout).keep(read_plan(layout))


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _make_one_kind_of_cgroups() -> None:
    """Leave version 1 alone where both versions are mounted: crun refuses the mixture."""
    with contextlib.suppress(OSError):
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], stderr=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main(sys.argv[1])
