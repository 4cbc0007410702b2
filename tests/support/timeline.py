"""Simulated time: the next thing to happen, whatever it is, happens next."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol

from tests.support.fakes import Clock


class Timed(Protocol):
    """What has work of its own to do at times."""

    def due(self) -> float | None:
        """Return when, None for never."""

    def tick(self) -> None:
        """Do what is due."""


class Timeline:
    """Events to come, on a clock that it moves; `work` does what it has to in between."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment: float, event: Callable[[], None]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (moment, next(self._order), event))

    def run(self, end: float, work: Timed) -> None:
        """Let everything happen that will until then."""
        while (moment := min(self._next(), _due(work))) <= end:
            self._clock.now = max(self._clock.now, moment)
            if _due(work) <= self._clock.now:
                work.tick()
                assert _due(work) > self._clock.now, "there is work that is not done"
            else:
                heapq.heappop(self._events)[2]()

    def _next(self) -> float:
        return self._events[0][0] if self._events else float("inf")


def _due(work: Timed) -> float:
    due = work.due()
    return float("inf") if due is None else due
