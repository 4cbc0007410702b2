"""Simulated time: the clock jumps to the next event or the next due work."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol

from tests.support.fakes import Clock


class Timed(Protocol):
    """Something with work due at certain times."""

    def due(self) -> float | None:
        """Return when work is due; None for never."""

    def tick(self) -> None:
        """Do the work that is due."""


class Timeline:
    """Scheduled events, on a clock that `run` moves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment: float, event: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._events, (moment, next(self._order), event))

    def run(self, end: float, work: Timed) -> None:
        """Run all events and all due work up to `end`."""
        while (moment := min(self._next(), _due(work))) <= end:
            self._clock.now = max(self._clock.now, moment)
            if _due(work) <= self._clock.now:
                work.tick()
                assert _due(work) > self._clock.now, "tick() left work that is due"
            else:
                heapq.heappop(self._events)[2]()

    def _next(self) -> float:
        return self._events[0][0] if self._events else float("inf")


def _due(work: Timed) -> float:
    due = work.due()
    return float("inf") if due is None else due
