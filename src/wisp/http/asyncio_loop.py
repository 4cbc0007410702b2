"""asyncio's event loop with the interface of the sidecar's, for what runs in both."""

import asyncio
import time
from collections.abc import Callable

from wisp.http.epoll_server import READ, Timed


class AsyncioLoop:
    """Watch descriptors and do timed work on the running asyncio loop.

    Timed work has one timer each, so that much of it costs nothing until it is due. `add_timed` must be called again
    when work that was added is due earlier than it was.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Timed, tuple[float | None, asyncio.TimerHandle | None]] = {}
        """When work is due, and its timer."""

    def watch(self, descriptor: int, callback: Callable[[int], None]) -> None:
        """Call `callback(ready events)` whenever `descriptor` is readable."""
        self._loop.add_reader(descriptor, callback, READ)

    def forget(self, descriptor: int) -> None:
        """Stop watching; call it before the descriptor is closed."""
        self._loop.remove_reader(descriptor)

    def add_timed(self, timed: Timed) -> None:
        """Ask `timed` for its due time now, and again after each time that it was due."""
        planned, timer = self._timers.get(timed, (None, None))
        due = timed.due()
        if timer is not None:
            if due == planned:
                return
            timer.cancel()
        timer = None if due is None else self._loop.call_later(max(0.0, due - self.clock()), self._on_due, timed)
        self._timers[timed] = due, timer

    def remove_timed(self, timed: Timed) -> None:
        """Ask `timed` no more, if it was asked."""
        _, timer = self._timers.pop(timed, (None, None))
        if timer is not None:
            timer.cancel()

    def _on_due(self, timed: Timed) -> None:
        self._timers[timed] = None, None
        due = timed.due()
        if due is not None and due <= self.clock():  # a timer's clock is coarser, and it may have been put off
            timed.tick()
        if timed in self._timers:  # it may have been removed
            self.add_timed(timed)
