"""The attendant's parts: programs beside the command that end with the attendant, and files that only memory holds."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from wisp.base.secret import Secret
from wisp_local.sandbox.processes import Component, Place

LOG = Path("/proc/self/fd/2")
"""Where the attendant and its parts complain to: what `wisp run` opened for them, wherever it is."""

_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextlib.contextmanager
def beside(name: str, place: Place, *command: str) -> Iterator[Component]:
    """Run `command`, called `name` in messages, until the block is left; whatever ends this process ends it, too."""
    with subprocess.Popen(
        [*place.prefix, *command],
        env=dict(place.environment),
        pass_fds=place.descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd="/",
        process_group=0,
        preexec_fn=_end_with_parent(os.getpid()),  # noqa: PLW1509 -- this process has one thread
    ) as started:
        component = Component(name, started, LOG)
        try:
            yield component
        finally:
            component.end(_GRACE)


_GRACE = 3.0  # seconds


def _end_with_parent(parent: int) -> Callable[[], None]:
    """Have the kernel kill the new process when its parent ends; setpriv, which can do it, is not everywhere."""
    prctl = ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return tie


@contextlib.contextmanager
def in_memory(name: str, content: Secret | bytes) -> Iterator[int]:
    """Give the descriptor of a file that is in no folder; whoever inherits it opens it at `path_of` it."""
    descriptor = os.memfd_create(name)
    try:
        os.write(descriptor, content.reveal().encode() if isinstance(content, Secret) else content)
        yield descriptor
    finally:
        os.close(descriptor)


def rewrite(descriptor: int, content: Secret) -> None:
    """Replace the content of a file of `in_memory`, which others may be reading."""
    data = content.reveal().encode()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def path_of(descriptor: int) -> str:
    """Return where a process that has `descriptor` finds the file."""
    return f"/proc/self/fd/{descriptor}"
