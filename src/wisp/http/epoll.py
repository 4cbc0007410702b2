"""The sidecar's event loop: one thread, one epoll, no framework (decision record 0001 says why, with figures).

It reads and writes; `Connection` says what the bytes mean and the application what to answer.
"""

import select
from collections.abc import Callable
from typing import Protocol

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_AT_ONCE = 128
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
        ready = self._epoll.poll(timeout, _AT_ONCE)
        self.now = self.clock()
        callbacks = self._callbacks
        for descriptor, events in ready:
            callback = callbacks.get(descriptor)  # an earlier callback of this turn may have forgotten it
            if callback is not None:
                callback(events)
        if len(ready) == _AT_ONCE and self.when_busy is not None:
            self.when_busy(READ)
        if due is not None and self.now >= due:
            for timed in self._timed:
                timed.tick()

    def close(self) -> None:
        """Free the epoll descriptor."""
        self._epoll.close()
