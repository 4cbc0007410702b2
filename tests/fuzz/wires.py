"""A client's socket and event loop in memory: `Peer` cannot tell the difference, and nothing waits for a kernel."""

import asyncio
import select
from collections.abc import Callable
from typing import cast

from wisp.http.asyncio_server import AsyncioPeer
from wisp.http.connection import DEFAULT_LIMITS, READ, WRITE, Application, ServerConnection
from wisp.http.epoll_server import EpollPeer, Loop
from wisp.http.peer import Peer, Server
from wisp.http.sockets import Socket

_TURNS = 20_000


class Wire:
    """The server's end of a connection; the client takes at most `takes` bytes at a time."""

    def __init__(self, takes: int) -> None:
        self.arrived = bytearray()
        self.answered = bytearray()
        self.closed = False
        self.hung_up = False
        self._takes = takes
        self._full = False

    def fileno(self) -> int:
        """Return a descriptor."""
        return -1 if self.closed else 7

    def recv(self, size: int) -> bytes:
        """Return the input; a reader that is called without input gets BlockingIOError."""
        if not self.arrived:
            raise BlockingIOError
        data = bytes(self.arrived[:size])
        del self.arrived[:size]
        return data

    def send(self, data: bytes) -> int:
        """Take some of `data`; after an incomplete send take nothing until the next turn."""
        if self._full:
            raise BlockingIOError
        taken = data[: self._takes]
        self._full = len(taken) < len(data)
        self.answered += taken
        return len(taken)

    def drain(self) -> None:
        """Make room for output."""
        self._full = False

    def shutdown(self, _how: int) -> None:
        """Close the sending side."""
        self.hung_up = True

    def getsockopt(self, _level: int, _option: int, size: int = 0) -> bytes | int:
        """Return a TCP_INFO without unsent data, or no error."""
        return bytes(size) if size else 0

    def setsockopt(self, *_option: object) -> None:
        """Ignore the option."""

    def close(self) -> None:
        """Close."""
        self.closed = True


class StillLoop:
    """A loop of one descriptor without time, with the interfaces of epoll and asyncio."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watched = 0
        self.callback: Callable[[int], None] | None = None

    def watch(self, _descriptor: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Watch a descriptor."""
        self.callback, self.watched = callback, events

    def change(self, _descriptor: int, events: int) -> None:
        """Change the events."""
        self.watched = events

    def forget(self, _descriptor: int) -> None:
        """Stop watching."""
        self.callback = None

    def add_reader(self, _descriptor: int, callback: Callable[[], None]) -> None:
        """Wait for something to read."""
        self.callback, self.watched = lambda _events: callback(), READ

    def add_writer(self, _descriptor: int, callback: Callable[[], None]) -> None:
        """Wait for room to write."""
        self.callback, self.watched = lambda _events: callback(), WRITE

    def remove_reader(self, _descriptor: int) -> None:
        """Wait no longer for something to read."""
        self.watched &= ~READ

    def remove_writer(self, _descriptor: int) -> None:
        """Wait no longer for room to write."""
        self.watched &= ~WRITE


class OneServer(Server):
    """A server of one connection that counts the ends of the connection."""

    ends = 0
    now = 1000.0

    def remove(self, connection: ServerConnection) -> None:
        """Count."""
        super().remove(connection)
        self.ends += 1


def epoll_peer(server: Server, accepted: Socket, loop: StillLoop) -> Peer:
    """Return the connection as the epoll server has it."""
    return EpollPeer(server, accepted, cast("Loop", loop))


def asyncio_peer(server: Server, accepted: Socket, loop: StillLoop) -> Peer:
    """Return the connection as the asyncio server has it."""
    return AsyncioPeer(server, accepted, cast("asyncio.AbstractEventLoop", loop))


Driver = Callable[[Server, Socket, StillLoop], Peer]
DRIVERS: dict[str, Driver] = {"epoll": epoll_peer, "asyncio": asyncio_peer}


class Conversation:
    """One connection to `application`. `waiting` is called when it waits for a response; it returns success."""

    def __init__(self, application: Application, driver: Driver, takes: int, waiting: Callable[[], bool]) -> None:
        self._loop = StillLoop()
        self.wire = Wire(takes)
        self.server = OneServer(application, DEFAULT_LIMITS)
        self._waiting = waiting
        self.peer = driver(self.server, cast("Socket", self.wire), self._loop)
        self.server.peers[self.peer.connection] = self.peer

    def say(self, data: bytes) -> None:
        """Deliver `data`, and let everything happen that follows."""
        self.wire.arrived += data
        for _ in range(_TURNS):
            if not self._turn():
                return
        raise AssertionError("the connection does not come to rest")

    def end(self) -> None:
        """Let the client close."""
        if self._loop.callback is not None:
            self.peer.close()
        while self._waiting():
            pass
        assert self.server.ends == 1, f"the server was notified {self.server.ends} times that the connection is over"

    def _turn(self) -> bool:
        callback, watched = self._loop.callback, self._loop.watched
        if callback is None:
            return False
        if watched & WRITE:
            self.wire.drain()
            callback(WRITE)
        elif watched & READ and self.wire.arrived:
            callback(select.EPOLLIN)
        else:
            return self._waiting()
        return True
