"""`python -m wisp_local.sandbox.tied PARENT MODULE ARGUMENTS...`: a module that the kernel kills when its parent ends.

"Parent" is the thread that started the program (prctl(2), PR_SET_PDEATHSIG). See `processes.tied`.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)

if __name__ == "__main__":
    parent, module = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        sys.exit(1)
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
