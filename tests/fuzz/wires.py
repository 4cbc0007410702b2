"""A client's socket and the loop that watches it, in memory: `Peer` cannot tell, and nothing waits for a kernel."""

import select
from collections.abc import Callable
from typing import cast

from wisp.http.epoll import READ, WRITE, Loop
from wisp.http.epoll_peer import Host, Peer
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
        """Give what has arrived; a reader who is called for nothing finds nothing."""
        if not self.arrived:
            raise BlockingIOError
        data = bytes(self.arrived[:size])
        del self.arrived[:size]
        return data

    def send(self, data: bytes) -> int:
        """Take some of `data`, and then, where that was not all, nothing until the loop has turned."""
        if self._full:
            raise BlockingIOError
        taken = data[: self._takes]
        self._full = len(taken) < len(data)
        self.answered += taken
        return len(taken)

    def drain(self) -> None:
        """Make room."""
        self._full = False

    def shutdown(self, _how: int) -> None:
        """Hang up."""
        self.hung_up = True

    def getsockopt(self, _level: int, _option: int, size: int) -> bytes:
        """Return a TCP_INFO that tells of nothing unsent."""
        return bytes(size)

    def setsockopt(self, *_option: object) -> None:
        """Take note of nothing."""

    def close(self) -> None:
        """Close."""
        self.closed = True


class StillLoop:
    """A loop of one descriptor in which no time passes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watched = 0
        self.callback: Callable[[int], None] | None = None

    def watch(self, _descriptor: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Watch."""
        self.callback, self.watched = callback, events

    def change(self, _descriptor: int, events: int) -> None:
        """Wait for something else."""
        self.watched = events

    def forget(self, _descriptor: int) -> None:
        """Watch no more."""
        self.callback = None


class Conversation:
    """One connection to `Peer`. `waiting` is called when it waits for the application, and says whether that helped."""

    def __init__(self, host: Callable[[Loop], Host], takes: int, waiting: Callable[[], bool]) -> None:
        self._loop = StillLoop()
        self.wire = Wire(takes)
        self.ends = 0
        self._waiting = waiting
        peer_host = host(cast("Loop", self._loop))
        self.peer = Peer(cast("Socket", self.wire), peer_host, self._on_close)

    def say(self, data: bytes) -> None:
        """Let `data` arrive, and everything happen that comes of it."""
        self.wire.arrived += data
        for _ in range(_TURNS):
            if not self._turn():
                return
        raise AssertionError("the connection does not come to rest")

    def end(self) -> None:
        """Let the client vanish."""
        if self._loop.callback is not None:
            self.peer.close()
        while self._waiting():
            pass
        assert self.ends == 1, f"the server was told {self.ends} times that the connection is over"

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

    def _on_close(self, _peer: Peer) -> None:
        self.ends += 1
