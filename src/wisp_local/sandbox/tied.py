"""`python -m wisp_local.sandbox.tied PARENT MODULE ARGUMENTS...`: a program that the kernel kills when its parent ends.

For parents that may have threads, such as a test run: nothing of ours may run there between fork and exec, which is how
`wisp_local.run.parts` does it. "Ends" is meant of the thread that started the program (prctl(2), PR_SET_PDEATHSIG).
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def tied(module: str) -> tuple[str, ...]:
    """Return the command for `python -m module` that ends with this process, however that ends."""
    return (sys.executable, "-m", "wisp_local.sandbox.tied", str(os.getpid()), module)


def main(parent: int, module: str) -> None:
    """Tie this process to `parent`, unless that has ended meanwhile, and become `module`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
