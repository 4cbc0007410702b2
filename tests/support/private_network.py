"""A private network and private mounts, so a test sees what a demo leaves behind and nothing of other processes."""

import ctypes
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager

_NETWORK, _MOUNTS = 0x40000000, 0x00020000
"""CLONE_NEWNET and CLONE_NEWNS (unshare(2)); the os module has them from Python 3.12 on."""
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def private_network() -> Generator[None]:
    """Move this thread, and processes it starts, to a network with only loopback and to private mounts. Needs root.

    Threads that already exist stay where they are.
    """
    folder = os.getcwd()  # noqa: PTH109 -- as text, for going back
    before = [(os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in _KINDS]
    try:
        _check(_LIBC.unshare(_NETWORK | _MOUNTS))
        try:
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            for descriptor, kind in before:
                _check(_LIBC.setns(descriptor, kind))
            os.chdir(folder)
    finally:
        for descriptor, _ in before:
            os.close(descriptor)


_KINDS = (("net", _NETWORK), ("mnt", _MOUNTS))


def _check(status: int) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
