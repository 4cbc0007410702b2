"""Mounts in a mount namespace of one's own: they end with it."""

import ctypes
import os
from pathlib import Path

_MS_BIND, _MS_REC = 0x1000, 0x4000  # mount(2)


def mount_tmpfs(target: Path) -> None:
    """Put an empty file system in memory over `target`, open to be read by all; raises OSError."""
    _mount(b"tmpfs", target, b"tmpfs", 0, b"mode=755")


def bind(source: Path, target: Path) -> None:
    """Show the folder `source`, with what is mounted below it, at the new folder `target`; raises OSError."""
    target.mkdir()
    _mount(os.fsencode(source), target, b"", _MS_BIND | _MS_REC, b"")


def _mount(source: bytes, target: Path, kind: bytes, flags: int, data: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount: {os.strerror(code)}", os.fspath(target))
