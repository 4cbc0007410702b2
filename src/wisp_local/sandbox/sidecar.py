"""What a sidecar on this machine needs: a port of its own, files that exist only in memory, and a wait until ready."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from wisp.base.secret import Secret
from wisp.proxy.probe import probe
from wisp_local.sandbox.processes import Component

_PROBE_TIME = 0.1  # seconds between checks whether the sidecar is still running


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a free port on loopback. A server can listen on it: both sockets allow that, and this one never does."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@contextlib.contextmanager
def memory_file(name: str, content: Secret | bytes) -> Iterator[int]:
    """Return the descriptor of a file in memory. A process that inherits it opens the file at `descriptor_path`."""
    descriptor = os.memfd_create(name)
    try:
        os.write(descriptor, content.reveal().encode() if isinstance(content, Secret) else content)
        yield descriptor
    finally:
        os.close(descriptor)


def rewrite(descriptor: int, content: Secret) -> None:
    """Replace the content of a file in memory, which other processes may be reading."""
    data = content.reveal().encode()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def descriptor_path(descriptor: int) -> str:
    """Return the path of the file in a process that has `descriptor`."""
    return f"/proc/self/fd/{descriptor}"


def wait_until_ready(
    sidecar: Component,
    port: int,
    *,
    timeout: float,
    network: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> None:
    """Wait until the sidecar on `port`, which is reached within `network`, is ready. Raise ComponentError.

    `timeout` is in seconds. A sidecar that ends by itself is not waited for.
    """
    end = time.monotonic() + timeout
    with network():
        while not sidecar.has_ended() and time.monotonic() < end:
            if probe(port, _PROBE_TIME) is None and not sidecar.has_ended():
                return
    raise sidecar.failure("did not become ready")
