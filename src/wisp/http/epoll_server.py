"""Accepts connections on the loop, bounds their number and memory, enforces their deadlines, and drains them."""

import errno
from collections.abc import Iterator

from wisp.http.epoll import READ, Loop
from wisp.http.epoll_peer import Application, Host, Peer, Times
from wisp.http.eviction import largest, longest_waiting
from wisp.http.sockets import Socket, accept

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC)
_PAUSE = 0.1
"""Seconds until the next try where a connection could be neither accepted nor made room for."""
_AT_ONCE = 256
"""Most connections accepted in one turn of the loop, which serves others too."""
_NEVER = float("inf")


class Server:
    """Serve `application` to whoever connects to `listener`; register with the loop by `start`."""

    def __init__(self, listener: Socket, host: Host, most: int) -> None:
        self._listener = listener
        self._host = host
        self._most = most
        self._peers: dict[Peer, None] = {}  # in the order they came
        self._accepting = False
        self._accept_at = _NEVER
        self._drained_by = _NEVER

    @classmethod
    def start(
        cls, listener: Socket, application: Application, loop: Loop, *, times: Times, most: int = 1024
    ) -> "Server":
        """Return a server that accepts from now on, `most` connections at a time."""
        host = Host(application, loop, times)
        server = cls(listener, host, most)
        host.relieve = server._relieve
        server._accept_more()
        loop.add_timed(server)
        return server

    def due(self) -> float | None:
        """Return when the next deadline may pass."""
        due = min(self._host.next_check, self._accept_at, self._drained_by)
        return None if due == _NEVER else due

    def tick(self) -> None:
        """End what has passed its deadline."""
        now = self._host.loop.clock()
        if now >= self._drained_by:
            self._host.loop.stop()
            return
        if now >= self._accept_at:
            self._accept_more()
        if now >= self._host.next_check:
            self._end_late(now)

    def drain(self) -> None:
        """Accept nothing more, let what is in flight finish within the drain time, then stop the loop."""
        host = self._host
        host.draining = True
        self._accept(0)  # who is connected already may have asked already
        self._stop_accepting()
        self._listener.close()
        self._drained_by = host.loop.clock() + host.times.drain
        for peer in list(self._peers):
            peer.last_call()
        if not self._peers:
            host.loop.stop()

    def close(self) -> None:
        """Close every socket."""
        self._host.draining = True
        self._stop_accepting()
        self._listener.close()
        for peer in list(self._peers):
            peer.close()

    def _end_late(self, now: float) -> None:
        self._host.next_check = _NEVER
        for peer in list(self._peers):
            if peer.deadline <= now:
                peer.on_deadline()
        self._host.next_check = min((peer.deadline for peer in self._peers), default=_NEVER)

    def _accept(self, _events: int) -> None:
        """Accept those who wait, and serve them at once; those who have waited longest give way to them.

        Where nobody can give way, one newcomer is there beyond the limit, and the next has to wait for it.
        """
        victims: Iterator[Peer] | None = None
        newcomers: set[Peer] = set()
        while True:
            while len(self._peers) > self._most:
                if victims is None:
                    others = [peer for peer in self._peers if peer not in newcomers]
                    victims = iter(longest_waiting(others, _AT_ONCE))
                victim = next(victims, None)
                if victim is None:
                    self._pause()
                    return
                victim.give_way()
            newcomer = self._accept_one(first=not newcomers) if len(newcomers) < _AT_ONCE else None
            if newcomer is None:
                return
            newcomers.add(newcomer)

    def _accept_one(self, *, first: bool) -> Peer | None:
        """Accept the next connection, if there is one."""
        try:
            peer = Peer(accept(self._listener), self._host, self._gone)
        except BlockingIOError:
            return None
        except OSError as error:  # any other: the client has gone meanwhile
            # The kernel says so whether or not somebody waits; that somebody does is known of the first only.
            if error.errno in _EXHAUSTED and first and not self._make_room():
                self._pause()
            return None
        self._peers[peer] = None
        peer.on_ready(READ)  # its request is here as a rule: once it is answered, giving way costs it nothing
        return peer

    def _make_room(self) -> bool:
        """Close the connection that has waited longest; say whether there was one."""
        victims = longest_waiting(self._peers, 1)
        for victim in victims:
            victim.give_way()
        return bool(victims)

    def _relieve(self, excess: int) -> None:
        """Close connections that hold `excess` bytes."""
        for peer in largest(self._peers, excess):
            peer.close()

    def _gone(self, peer: Peer) -> None:
        self._peers.pop(peer, None)
        if not self._host.draining:
            self._accept_more()
        elif not self._peers:
            self._host.loop.stop()

    def _accept_more(self) -> None:
        self._accept_at = _NEVER
        if not self._accepting:
            self._accepting = True
            self._host.loop.watch(self._listener.fileno(), self._accept)
            self._host.loop.when_busy = self._accept

    def _stop_accepting(self) -> None:
        self._accept_at = _NEVER
        if self._accepting:
            self._accepting = False
            self._host.loop.forget(self._listener.fileno())
            self._host.loop.when_busy = None

    def _pause(self) -> None:
        """Leave the queue alone for a moment: it would call again at once, and again."""
        self._stop_accepting()
        self._accept_at = self._host.loop.clock() + _PAUSE
