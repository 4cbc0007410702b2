"""Two listeners on the loop: admission over TLS, health and metrics in the clear; and how they come to an end."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

from wisp.errors import SettingError
from wisp.webhook.peer import Host, Peer

_SWEEP = 1.0
"""Seconds between looks at the deadlines of connections."""
HANDSHAKE = 5.0
"""Seconds that a TLS handshake may take."""


def bound(address: str, port: int) -> socket.socket:
    """Return a listening socket; `address` may be of either family, `::` takes both. Raise SettingError."""
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
        # create_server sets no protocol, without which asyncio would leave Nagle's algorithm on.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _unusable(address, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(place)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise _unusable(address, port, error) from None
    return listener


def _unusable(address: str, port: int, error: OSError) -> SettingError:
    reason = (error.strerror or str(error)).lower()
    return SettingError(
        f"cannot listen on port {port} of {address!r}: {reason}", remedy="choose another address or port"
    )


class Listening:
    """Serve `host`'s application on `listener` until `close`."""

    def __init__(self, host: Host, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self._listener = listener
        self._tls = tls
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it has."""
        number: int = self._listener.getsockname()[1]
        return number

    async def open(self) -> None:
        """Accept connections from now on."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Peer(self.host),
            sock=self._listener,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else HANDSHAKE,
            ssl_shutdown_timeout=None if self._tls is None else 1.0,
        )

    def close(self) -> None:
        """Accept nothing more; what is under way is finished, what is idle ends."""
        self.host.closing = True
        if self._server is not None:
            self._server.close()
        self.host.end_idle()


async def keep_deadlines(listeners: Sequence[Listening]) -> None:
    """End late connections, for ever."""
    while True:
        await asyncio.sleep(_SWEEP)
        for listening in listeners:
            listening.host.end_late()


async def drained(listening: Listening, seconds: float) -> None:
    """Wait until no connection is left, `seconds` at most; then end the rest."""
    clock = listening.host.clock
    until = clock() + seconds
    while listening.host.peers and clock() < until:
        await asyncio.sleep(0.02)
        listening.host.end_idle()
    for peer in list(listening.host.peers):
        peer.end()
