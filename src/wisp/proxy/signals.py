"""Signals, straight from CPython's `_signal`: the public module wraps its numbers in enumerations while pods wait."""

import _signal  # type: ignore[import-not-found]
import errno
import os
from collections.abc import Callable

from wisp.http.epoll import Loop
from wisp.http.sockets import Socket, packet_pair


def stop_on_signals(loop: Loop, stop: Callable[[], None]) -> Socket:
    """Call `stop` once from the loop at SIGTERM or SIGINT; return the socket that must be kept for that.

    From here on a signal cannot be lost, which matters to process 1 of a container: the kernel drops those that it has
    no handler for.
    """
    reader, writer = packet_pair()
    writer.settimeout(0)

    def woken(_events: int) -> None:
        loop.forget(reader.fileno())  # once is enough: draining has a deadline of its own
        stop()

    loop.watch(reader.fileno(), woken)
    for number in (_signal.SIGTERM, _signal.SIGINT):
        _signal.signal(number, lambda *_: None)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # where it came to us ignored, children could not be waited for
    _signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    return reader


def open_standard_streams() -> None:
    """Open what is closed of descriptors 0 to 2, as /dev/null: a connection that got one would be sent the log."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 -- the lowest free descriptor
