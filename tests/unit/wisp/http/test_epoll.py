"""The event loop: which callbacks it calls, when, and which it no longer calls."""

import os
import select
from collections.abc import Iterator

import pytest

from tests.unit.wisp.http.world import Clock
from wisp.http.epoll import READ, WRITE, Loop
from wisp.http.sockets import Socket, packet_pair


class Alarm:
    """A timed object that records when it was called."""

    def __init__(self, clock: Clock, at: float | None) -> None:
        self.clock = clock
        self.at = at
        self.rung: list[float] = []

    def due(self) -> float | None:
        """Return the single due time."""
        return self.at

    def tick(self) -> None:
        """Record the time of the call."""
        self.rung.append(self.clock())
        self.at = None


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="loop")
def _loop(clock: Clock) -> Iterator[Loop]:
    loop = Loop(clock)
    yield loop
    loop.close()


@pytest.fixture(name="pair")
def _pair() -> Iterator[tuple[Socket, Socket]]:
    pair = packet_pair()
    yield pair
    for end in pair:
        end.close()


def test_callback_receives_the_ready_events(loop: Loop, pair: tuple[Socket, Socket]) -> None:
    """It is called again as long as its descriptor stays ready."""
    received: list[int] = []
    loop.watch(pair[0].fileno(), received.append)
    loop.turn(0)
    assert received == []
    pair[1].send(b"x")
    loop.turn(0)
    loop.turn(0)
    assert received == [READ, READ]


def test_watched_events_can_be_changed(loop: Loop, pair: tuple[Socket, Socket]) -> None:
    """Events are changed in place. A hang-up is reported even to a callback that waits for nothing."""
    received: list[int] = []
    loop.watch(pair[0].fileno(), received.append)
    loop.change(pair[0].fileno(), WRITE)
    loop.turn(0)
    loop.change(pair[0].fileno(), 0)
    loop.turn(0)
    assert received == [WRITE]
    pair[1].close()
    loop.turn(0)
    assert received[1:] == [select.EPOLLHUP]


def test_forgotten_descriptors_are_not_called(loop: Loop) -> None:
    """This holds within the same turn, and forgetting a descriptor twice is harmless."""
    ends = [os.eventfd(1), os.eventfd(1)]
    received: list[int] = []

    def forget_both(_events: int) -> None:
        received.append(1)
        for end in ends:
            loop.forget(end)

    for end in ends:
        loop.watch(end, forget_both)
    loop.turn(0)
    loop.turn(0)
    assert received == [1]
    for end in ends:
        loop.forget(end)
        os.close(end)


@pytest.mark.parametrize("at, rung", [(1000.0, [1000.0]), (999.0, [1000.0]), (1000.1, []), (None, [])])
def test_timed_object_is_called_once_when_due(loop: Loop, clock: Clock, at: float | None, rung: list[float]) -> None:
    alarm = Alarm(clock, at)
    loop.add_timed(alarm)
    loop.turn(0)
    loop.turn(0)
    assert alarm.rung == rung


def test_next_due_time_bounds_the_wait(clock: Clock) -> None:
    """A turn without its own timeout ends when the next timer is due: at once here, or this test would hang."""
    loop = Loop(clock)
    alarms = [Alarm(clock, None), Alarm(clock, 2000.0), Alarm(clock, 1000.0)]
    for alarm in alarms:
        loop.add_timed(alarm)
    loop.turn()
    assert [alarm.rung for alarm in alarms] == [[1000.0]] * 3
    loop.close()


def test_timed_object_is_called_once_per_turn_until_removed(loop: Loop, clock: Clock) -> None:
    """It may have been added several times, and may remove itself while it is called."""

    class Once(Alarm):
        def tick(self) -> None:
            """Record the time of the call."""
            super().tick()
            loop.remove_timed(self)
            self.at = 1000.0

    first, second = Once(clock, 1000.0), Alarm(clock, 1000.0)
    for alarm in (first, first, second):
        loop.add_timed(alarm)
    loop.turn(0)
    loop.turn(0)
    assert [first.rung, second.rung] == [[1000.0], [1000.0]]


def test_run_ends_when_stopped(loop: Loop, pair: tuple[Socket, Socket]) -> None:
    """A callback may stop the loop; the current turn is finished first."""
    loop.watch(pair[0].fileno(), lambda _events: loop.stop())
    pair[1].send(b"x")
    loop.run()
