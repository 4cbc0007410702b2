"""Serve connections on an event loop of one thread and one epoll, without a framework (decision 1 has the figures).

The loop calls back when a descriptor is ready or a time has come. The server accepts connections, bounds their number,
and ends them in order; `wisp.http.connection` says what bytes mean, and the application what to answer.
"""

import select
from collections.abc import Callable, Iterator
from typing import Protocol

from wisp.http.connection import DEFAULT_LIMITS, Application, Limits, ServerConnection
from wisp.http.eviction import Reason, longest_waiting
from wisp.http.peer import Peer, Server
from wisp.http.sockets import EXHAUSTED, PAUSE, Socket, accept

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_EVENTS_AT_ONCE = 128
"""Most events served in one turn. The kernel returns the rest in the next turns, each descriptor in its turn."""


class Timed(Protocol):
    """Something with work to do at a time of its own choosing (seconds of the loop's clock)."""

    def due(self) -> float | None:
        """Return when `tick` wants to be called next, or None for never."""

    def tick(self) -> None:
        """Do what is due."""


class Loop:
    """Call back when a file descriptor is ready or a time has come, until stopped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.now = clock()
        """The time at which the present turn's events were there: near enough for what is set for seconds from now."""
        self.when_busy: Callable[[int], None] | None = None
        """Called after a turn with more events than one turn serves, so that it does not wait for all of them."""
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timed: list[Timed] = []
        self._running = True

    def watch(self, descriptor: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Call `callback(ready events)` whenever `descriptor` is ready for `events`."""
        self._epoll.register(descriptor, events)
        self._callbacks[descriptor] = callback

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other `events` on a watched descriptor."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Stop watching; call it before the descriptor is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def add_timed(self, timed: Timed) -> None:
        """Ask `timed` for its due times from now on."""
        if timed not in self._timed:
            self._timed = [*self._timed, timed]

    def remove_timed(self, timed: Timed) -> None:
        """Ask `timed` no more, if it was asked."""
        self._timed = [other for other in self._timed if other is not timed]  # a new list: the old one may be in use

    def stop(self) -> None:
        """Return from `run` after this turn."""
        self._running = False

    def run(self) -> None:
        """Turn until `stop` is called."""
        while self._running:
            self.turn()

    def turn(self, longest: float | None = None) -> None:
        """Wait for the next event or due time, `longest` seconds at most, and serve it."""
        due = min([moment for timed in self._timed if (moment := timed.due()) is not None], default=None)
        timeout = None if due is None else max(0.0, due - self.clock())
        if longest is not None:
            timeout = longest if timeout is None else min(timeout, longest)
        ready = self._epoll.poll(timeout, _EVENTS_AT_ONCE)
        self.now = self.clock()
        callbacks = self._callbacks
        for descriptor, events in ready:
            callback = callbacks.get(descriptor)  # an earlier callback of this turn may have forgotten it
            if callback is not None:
                callback(events)
        if len(ready) == _EVENTS_AT_ONCE and self.when_busy is not None:
            self.when_busy(READ)
        if due is not None and self.now >= due:
            for timed in self._timed:
                timed.tick()

    def close(self) -> None:
        """Free the epoll descriptor."""
        self._epoll.close()


_ACCEPTED_AT_ONCE = 256
"""Most connections accepted in one turn of the loop, which serves others too."""
_NEVER = float("inf")


class EpollPeer(Peer):
    """A connection that the epoll loop watches."""

    __slots__ = ("_loop",)

    def __init__(self, server: Server, accepted: Socket, loop: Loop) -> None:
        super().__init__(server, accepted)
        self._loop = loop
        loop.watch(accepted.fileno(), self.on_ready)

    def _watch(self, events: int) -> None:
        self._loop.change(self._socket.fileno(), events)

    def _unwatch(self) -> None:
        self._loop.forget(self._socket.fileno())


class EpollServer(Server):
    """Serve `application` to the clients of `listener` from now on."""

    def __init__(
        self,
        listener: Socket,
        application: Application,
        loop: Loop,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(application, limits)
        self._listener = listener
        self._loop = loop
        self._accepting = False
        self._accept_at = _NEVER
        self._drained_by = _NEVER
        self._accept_more()
        loop.add_timed(self)

    @property
    def now(self) -> float:
        """Seconds of the loop's clock, as of its present turn."""
        return self._loop.now

    def due(self) -> float | None:
        """Return when the next deadline may pass."""
        due = min(self.host.next_deadline, self._accept_at, self._drained_by)
        return None if due == _NEVER else due

    def tick(self) -> None:
        """Act on what is due."""
        now = self._loop.now
        if now >= self._drained_by:
            self._loop.stop()
            return
        if now >= self._accept_at:
            self._accept_more()
        self.end_late()

    def drain(self) -> None:
        """Accept nothing more, let what is in flight finish within the drain time, then stop the loop."""
        self.host.closing = True
        self._accept(0)  # those connected already may have sent a request already
        self._stop_accepting()
        self._listener.close()
        self._drained_by = self._loop.clock() + self.host.times.drain
        for peer in list(self.peers.values()):
            if peer.connection.quiet:
                peer.on_ready()
            if peer.connection.quiet:
                peer.close()
        if not self.peers:
            self._loop.stop()

    def close(self) -> None:
        """Close every socket."""
        self.host.closing = True
        self._stop_accepting()
        self._listener.close()
        for peer in list(self.peers.values()):
            peer.close()

    def remove(self, connection: ServerConnection) -> None:
        """Forget a connection that is closed, and accept another."""
        super().remove(connection)
        if not self.host.closing:
            self._accept_more()
        elif not self.peers:
            self._loop.stop()

    def _accept(self, _events: int) -> None:
        """Accept those who wait, and serve them at once; those who have waited longest give way to them.

        If nobody can give way, one newcomer is there beyond the limit, and the next has to wait for it.
        """
        victims: Iterator[ServerConnection] | None = None
        newcomers: set[ServerConnection] = set()
        while True:
            while len(self.peers) > self.host.limits.connections:
                if victims is None:
                    others = [connection for connection in self.peers if connection not in newcomers]
                    victims = iter(longest_waiting(others, _ACCEPTED_AT_ONCE))
                victim = next(victims, None)
                if victim is None:
                    self._pause()
                    return
                self._displace(victim, "connections")
            newcomer = self._accept_one(first=not newcomers) if len(newcomers) < _ACCEPTED_AT_ONCE else None
            if newcomer is None:
                return
            newcomers.add(newcomer)

    def _accept_one(self, *, first: bool) -> ServerConnection | None:
        """Accept the next connection, if there is one."""
        try:
            peer = EpollPeer(self, accept(self._listener)[0], self._loop)
        except BlockingIOError:
            return None
        except OSError as error:  # any other: the client has gone meanwhile
            # The kernel says so whether or not somebody waits; that somebody does is known of the first only.
            if error.errno in EXHAUSTED and first:
                victims = longest_waiting(self.peers, 1)
                for victim in victims:
                    self._displace(victim, "descriptors")
                if not victims:
                    self._pause()
            return None
        self.peers[peer.connection] = peer
        peer.on_ready()  # its request is here as a rule: once it is answered, giving way costs it nothing
        return peer.connection

    def _displace(self, connection: ServerConnection, reason: Reason) -> None:
        peer = self.peers.get(connection)
        if peer is not None and peer.give_way():
            self.closed[reason] += 1

    def _accept_more(self) -> None:
        self._accept_at = _NEVER
        if not self._accepting:
            self._accepting = True
            self._loop.watch(self._listener.fileno(), self._accept)
            self._loop.when_busy = self._accept

    def _stop_accepting(self) -> None:
        self._accept_at = _NEVER
        if self._accepting:
            self._accepting = False
            self._loop.forget(self._listener.fileno())
            self._loop.when_busy = None

    def _pause(self) -> None:
        """Leave the queue alone for a moment: the loop would call again at once, and again."""
        self._stop_accepting()
        self._accept_at = self._loop.clock() + PAUSE
