"""Accept connections on the event loop, over TLS or in the clear; enforce their deadlines, and end them in order."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence

from wisp.base.errors import SettingError
from wisp.http.asyncio_peer import Host, Peer

_SWEEP = 1.0
"""Seconds between looks at the deadlines of connections."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.1
"""Seconds until the next attempt when a connection can be neither accepted nor made room for."""
_AT_ONCE = 16
"""Most connections accepted in one turn of the loop: those that exist can go on before newcomers displace them."""


def bound(address: str, port: int, *, buffer: int = 64 * 1024) -> socket.socket:
    """Return a listening socket; `address` may be of either family, `::` takes both. Raise SettingError.

    The kernel holds about `buffer` bytes of each connection in each direction; by default it would hold several MiB.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _unusable(address, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Accepted sockets inherit these.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        listener.bind(place)
        listener.listen(4096)  # the kernel's net.core.somaxconn may lower it
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        raise _unusable(address, port, error) from None
    return listener


def _unusable(address: str, port: int, error: OSError) -> SettingError:
    reason = (error.strerror or str(error)).lower()
    return SettingError(f"cannot listen on port {port} of {address!r}: {reason}", hint="choose another address or port")


class Listening:
    """Serve `host`'s application on `listener` until `close`."""

    def __init__(self, host: Host, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self._listener = listener
        self._tls = tls
        self._resume: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port that it has."""
        number: int = self._listener.getsockname()[1]
        return number

    def open(self) -> None:
        """Accept connections from now on."""
        self._resume = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept nothing more; what is under way is finished, what is idle ends."""
        self.host.closing = True
        asyncio.get_running_loop().remove_reader(self._listener)
        if self._resume is not None:
            self._resume.cancel()
        self._listener.close()
        self.host.end_idle()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # any other error is the connection's: the client has gone
                if error.errno in _EXHAUSTED and not self.host.free_descriptor():
                    self._pause()
                return
            self._serve(accepted, address[0])

    def _serve(self, accepted: socket.socket, source: str) -> None:
        try:
            if not self.host.make_room(source):
                accepted.close()
                return
            accepted.settimeout(0)
            if self._tls is not None:
                accepted = self._tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            Peer(self.host, accepted, source)
        except OSError:  # the client has gone
            accepted.close()

    def _pause(self) -> None:
        """Leave the queue alone for a moment: it would call again at once, and again."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        self._resume = loop.call_later(_PAUSE, self.open)


async def keep_deadlines(listeners: Sequence[Listening]) -> None:
    """End late connections, indefinitely."""
    while True:
        await asyncio.sleep(_SWEEP)
        for listening in listeners:
            listening.host.end_late()


async def drained(listening: Listening, seconds: float) -> None:
    """Wait until no connection is left, `seconds` at most; then end the rest."""
    host = listening.host
    until = host.clock() + seconds
    while host.places and host.clock() < until:
        await asyncio.sleep(0.02)
        host.end_idle()
        host.end_late()
    for peer in list(host.places):
        peer.reset()
