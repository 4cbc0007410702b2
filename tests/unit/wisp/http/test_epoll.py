"""The loop: who is called, when, and who no longer."""

import os
import select
from collections.abc import Iterator

import pytest

from tests.unit.wisp.http.world import Clock
from wisp.http.epoll import READ, WRITE, Loop
from wisp.http.sockets import Socket, packet_pair


class Alarm:
    """Something timed that notes when it was called."""

    def __init__(self, clock: Clock, at: float | None) -> None:
        self.clock = clock
        self.at = at
        self.rung: list[float] = []

    def due(self) -> float | None:
        """Return the one time."""
        return self.at

    def tick(self) -> None:
        """Note the time; that was all."""
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


def test_who_is_ready_is_called(loop: Loop, pair: tuple[Socket, Socket]) -> None:
    """A callback hears what its descriptor is ready for, as long as it is ready."""
    heard: list[int] = []
    loop.watch(pair[0].fileno(), heard.append)
    loop.turn(0)
    assert heard == []
    pair[1].send(b"x")
    loop.turn(0)
    loop.turn(0)
    assert heard == [READ, READ]


def test_one_may_wait_for_something_else(loop: Loop, pair: tuple[Socket, Socket]) -> None:
    """Events are changed in place; a hang-up is reported to a callback that waits for nothing, too."""
    heard: list[int] = []
    loop.watch(pair[0].fileno(), heard.append)
    loop.change(pair[0].fileno(), WRITE)
    loop.turn(0)
    loop.change(pair[0].fileno(), 0)
    loop.turn(0)
    assert heard == [WRITE]
    pair[1].close()
    loop.turn(0)
    assert heard[1:] == [select.EPOLLHUP]


def test_the_forgotten_are_not_called(loop: Loop) -> None:
    """Not even in the turn in which a neighbour's callback made them forgotten; forgetting twice does no harm."""
    ends = [os.eventfd(1), os.eventfd(1)]
    heard: list[int] = []

    def forget_both(_events: int) -> None:
        heard.append(1)
        for end in ends:
            loop.forget(end)

    for end in ends:
        loop.watch(end, forget_both)
    loop.turn(0)
    loop.turn(0)
    assert heard == [1]
    for end in ends:
        loop.forget(end)
        os.close(end)


@pytest.mark.parametrize("at, rung", [(1000.0, [1000.0]), (999.0, [1000.0]), (1000.1, []), (None, [])])
def test_times_are_kept(loop: Loop, clock: Clock, at: float | None, rung: list[float]) -> None:
    """What is due is called, once; what is not, is not."""
    alarm = Alarm(clock, at)
    loop.add_timed(alarm)
    loop.turn(0)
    loop.turn(0)
    assert alarm.rung == rung


def test_the_next_due_time_bounds_the_wait(clock: Clock) -> None:
    """A turn without a bound of its own ends when the next thing is due: here at once, or this test would hang."""
    loop = Loop(clock)
    alarms = [Alarm(clock, None), Alarm(clock, 2000.0), Alarm(clock, 1000.0)]
    for alarm in alarms:
        loop.add_timed(alarm)
    loop.turn()
    assert [alarm.rung for alarm in alarms] == [[1000.0]] * 3
    loop.close()


def test_a_timed_object_is_called_once_a_turn_until_it_is_removed(loop: Loop, clock: Clock) -> None:
    """However often it was added; it may remove itself while it is called."""

    class Once(Alarm):
        def tick(self) -> None:
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
    """A callback may stop the loop; the turn is finished first."""
    loop.watch(pair[0].fileno(), lambda _events: loop.stop())
    pair[1].send(b"x")
    loop.run()
