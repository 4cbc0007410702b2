"""Which connections give way, and in which order."""

from typing import NamedTuple

import pytest

from wisp.http.eviction import DONE, IDLE, INCOMPLETE, WORKING, largest, longest_waiting


class Waiting(NamedTuple):
    """A connection as the decision sees it."""

    stage: int
    since: float = 0.0
    held: int = 0


class TestLongestWaiting:
    """Who goes when places run out."""

    def test_those_that_are_done_go_first(self) -> None:
        """Nothing is lost with them."""
        done, idle, incomplete = Waiting(DONE, 9), Waiting(IDLE, 8), Waiting(INCOMPLETE, 1)
        assert longest_waiting([incomplete, idle, done], 3) == [done, idle, incomplete]

    @pytest.mark.parametrize("many, one", [(IDLE, INCOMPLETE), (INCOMPLETE, IDLE)])
    def test_the_larger_group_makes_room(self, many: int, one: int) -> None:
        """A crowd in one stage does not displace a connection in the other, however long that has waited."""
        crowd, other = [Waiting(many, since) for since in (4, 5, 3)], Waiting(one, 1)
        assert longest_waiting([other, *crowd], 2) == [crowd[2], crowd[0]]

    def test_of_one_stage_the_longest_waiting_goes_first(self) -> None:
        """Whatever they hold."""
        waiting = [Waiting(INCOMPLETE, since, held=since) for since in (5, 3, 4)]
        assert longest_waiting(waiting, 2) == [waiting[1], waiting[2]]

    def test_who_waits_for_the_application_stays(self) -> None:
        """Even if nobody else is there."""
        assert longest_waiting([Waiting(WORKING, 0)] * 3, 3) == []

    def test_equal_ones_are_not_compared_further(self) -> None:
        """Connections have no order of their own."""

        class Unordered:
            stage, since, held = INCOMPLETE, 1.0, 1

        unordered = [Unordered(), Unordered()]
        assert longest_waiting(unordered, 2) == unordered
        assert largest(unordered, 2) == unordered


class TestLargest:
    """Who goes when memory runs out."""

    def test_those_that_hold_most_go_first(self) -> None:
        """No more of them than needed."""
        small, large, middle = (Waiting(INCOMPLETE, held=held) for held in (100, 900, 500))
        assert largest([small, large, middle], 901) == [large, middle]
        assert largest([small, large, middle], 900) == [large]

    def test_of_equals_the_longest_waiting_goes_first(self) -> None:
        """A new connection has time to finish."""
        new, old = Waiting(INCOMPLETE, 2, held=5), Waiting(INCOMPLETE, 1, held=5)
        assert largest([new, old], 1) == [old]

    def test_who_holds_nothing_stays(self) -> None:
        """Closing it would free nothing."""
        assert largest([Waiting(IDLE), Waiting(INCOMPLETE, held=1)], 100) == [Waiting(INCOMPLETE, held=1)]

    def test_who_waits_for_the_application_stays(self) -> None:
        """Its number is bounded elsewhere."""
        assert largest([Waiting(WORKING, held=100)], 1) == []
