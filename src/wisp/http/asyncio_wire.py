"""An accepted socket on the event loop, in the clear or with TLS.

OpenSSL reads from the socket itself. asyncio's TLS transport hides handshakes, gives up unsent data when its shutdown
timer ends, and keeps a read buffer of 256 KiB and two memory BIOs for each connection, which a client can fill and
which are freed only with the connection.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from wisp.http.sockets import break_off

READ_SIZE = 16 * 1024
"""Bytes read at a time: the most that a TLS record holds (RFC 8446 section 5.1), so none stay behind in OpenSSL."""


class Wire:
    """One non-blocking socket. OSError from a method, of which ssl.SSLError is one: the connection is lost."""

    __slots__ = ("_loop", "_on_ready", "_reading", "_socket", "_writing", "secured")

    def __init__(self, accepted: socket.socket, loop: asyncio.AbstractEventLoop, on_ready: Callable[[], None]) -> None:
        self._socket = accepted
        self._loop = loop
        self._on_ready = on_ready
        self._reading = self._writing = False
        self.secured = not isinstance(accepted, ssl.SSLSocket)
        """Whether data can be exchanged: in the clear, or the handshake is complete."""

    def watch(self, *, read: bool = False, write: bool = False) -> None:
        """Call `on_ready` whenever the socket can be read from or written to; stop doing so for the other."""
        if read != self._reading:
            self._reading = read
            if read:
                self._loop.add_reader(self._socket, self._on_ready)
            else:
                self._loop.remove_reader(self._socket)
        if write != self._writing:
            self._writing = write
            if write:
                self._loop.add_writer(self._socket, self._on_ready)
            else:
                self._loop.remove_writer(self._socket)

    def handshake(self) -> bool:
        """Continue the TLS handshake; return whether the client's first message has arrived, and set `secured`."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return True
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            return self._socket.shared_ciphers() is not None  # known from that message (RFC 8446 section 4.1.2)
        self.secured = True
        return True

    def receive(self) -> bytes | None:
        """Return what has arrived, at most READ_SIZE bytes; b"" at the end; None if there is nothing yet."""
        try:
            return self._socket.recv(READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None

    @property
    def is_reset(self) -> bool:
        """Whether the client has reset the connection. Look after each read.

        uvloop stops watching a socket when its reset arrives, and data that came before can still be unread.
        """
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def send(self, data: bytes | memoryview) -> int:
        """Send the front of `data` and return how many bytes were taken; 0: watch for writing."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0

    def hang_up(self) -> None:
        """Tell the client that nothing follows what was sent. What it still sends is received undecrypted."""
        if isinstance(self._socket, ssl.SSLSocket) and self.secured:
            with suppress(ssl.SSLWantReadError):  # close_notify is sent; the client's need not come (RFC 8446 6.1)
                self._socket.unwrap()
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self._release()
        self._socket.close()

    def reset(self) -> None:
        """Close the socket by a reset, so that nothing of the connection remains in the kernel."""
        self._release()
        with suppress(OSError):
            break_off(self._socket)

    def _release(self) -> None:
        """Stop watching and drop `on_ready`, which would keep its owner alive until the garbage collector runs."""
        self.watch()
        self._on_ready = _nothing


def _nothing() -> None:
    """Stand in for the callback of a closed socket."""
