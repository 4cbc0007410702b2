"""The node's first process: hides folders of this machine, starts the node's programs, and restarts those that end.

It is process 1 of its PID namespace: when it ends, the kernel ends the whole node with all pods, and removes mounts and
network. As every first process, it reaps processes whose parents have ended, such as the container runtime's shims.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from wisp.base.errors import ToolError
from wisp_local.lab.node.configuration import Layout, Plan, Program, parse_plan
from wisp_local.sandbox.namespaces import mount_tmpfs
from wisp_local.sandbox.processes import ProcessContext, open_log, run, spawn

_HIDDEN = (Path("/run"), Path("/var/log"))
"""Kubernetes, containerd and CNI plugins write to fixed names in here."""
_ICMP_RATE_LIMIT = Path("/proc/sys/net/ipv4/icmp_ratelimit")
"""Zero: rejected connections fail at once, however many there are (icmp(7)). The network namespace has its own."""
_RESTART_PAUSE = 0.5  # seconds


def start(program: Program, layout: Layout) -> int:
    """Start a program with its own log in the node's folder; return its process id."""
    with open_log(layout.logs / f"{program.name}.log") as log:
        context = ProcessContext((), os.environ)
        process = spawn(context, *program.command, stdout=log, stderr=log, folder=layout.folder)
    process.returncode = 0  # `supervise` waits for it
    return process.pid


def supervise(plan: Plan, layout: Layout) -> None:
    """Start the programs of the plan in their order and restart each one that ends. Does not return."""
    at_once = [program for program in plan.programs if not program.needs_api]
    running = {start(program, layout): program for program in (*at_once, plan.first)}
    while True:
        pid, status = os.wait()
        program = running.pop(pid, None)
        if program is plan.first and status == 0:
            running |= {start(program, layout): program for program in plan.programs if program.needs_api}
        elif program is not None:
            time.sleep(_RESTART_PAUSE)
            running[start(program, layout)] = program


def main(folder: str) -> None:
    """Run the node in `folder`."""
    signal.signal(signal.SIGTERM, _exit)
    layout = Layout(Path(folder))
    for path in _HIDDEN:
        mount_tmpfs(path)
    with contextlib.suppress(ToolError):  # crun refuses a mixture of both versions of cgroups
        run(ProcessContext((), os.environ), "umount", "/sys/fs/cgroup/unified")
    with contextlib.suppress(OSError):  # read-only in some containers: then only the first few connections fail at once
        _ICMP_RATE_LIMIT.write_text("0", encoding="ascii")
    supervise(parse_plan(layout.plan.read_text(encoding="utf-8")), layout)


def _exit(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
