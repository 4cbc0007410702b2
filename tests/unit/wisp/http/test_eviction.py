"""Which connections make room, and in which order."""

from collections.abc import Collection
from typing import NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.http import eviction
from wisp.http.connection import (
    ACCEPTED,
    ANSWERING,
    FINISHING,
    FLUSHING,
    HANDSHAKE,
    IDLE,
    RECEIVING,
    SENDING,
    STATES,
    Limits,
    ServerConnection,
    State,
)

DISPLACEABLE = (ACCEPTED, HANDSHAKE, RECEIVING, IDLE, SENDING)
LIMITS = Limits(connections=4, held=1000)


def name(value: object) -> str:
    """Return the test id of a state."""
    return value.name if isinstance(value, State) else str(value)


class Waiting(NamedTuple):
    """A connection as the decision sees it."""

    state: State
    since: float = 0.0
    held: int = 0
    source_address: str = ""


def longest_waiting(waiting: Collection[object], count: int) -> list[object]:
    """Decide about what has the attributes of connections that matter."""
    return list(eviction.longest_waiting(cast("Collection[ServerConnection]", waiting), count))


def holding_most(waiting: Collection[object], limits: Limits) -> list[object]:
    """Decide in the same way."""
    return list(eviction.holding_most(cast("Collection[ServerConnection]", waiting), limits))


class Unordered:
    """A connection like any other, and without an order."""

    state, since, held, source_address = RECEIVING, 1.0, 300, ""


class TestLongestWaiting:
    """Who goes when places run out."""

    @pytest.mark.parametrize("state", [FINISHING, FLUSHING], ids=name)
    def test_connections_with_nothing_left_to_do_go_first(self, state: State) -> None:
        """Nothing is lost with them."""
        done, idle, incomplete = Waiting(state, 9), Waiting(IDLE, 8), Waiting(RECEIVING, 1)
        assert longest_waiting([incomplete, idle, done], 3) == [done, idle, incomplete]
        assert longest_waiting([idle, idle, done], 1) == [done]

    @pytest.mark.parametrize("many", DISPLACEABLE, ids=name)
    @pytest.mark.parametrize("one", DISPLACEABLE, ids=name)
    def test_the_state_with_the_most_connections_makes_room(self, many: State, one: State) -> None:
        """A crowd in one state does not displace a connection in another, however long that has waited."""
        crowd, other = [Waiting(many, since) for since in (4, 5, 3)], Waiting(one, 1)
        expected = [other, crowd[2]] if many is one else [crowd[2], crowd[0]]
        assert longest_waiting([other, *crowd], 2) == expected

    def test_of_one_state_the_longest_waiting_goes_first(self) -> None:
        """Whatever they hold."""
        waiting = [Waiting(RECEIVING, since, held=since) for since in (5, 3, 4)]
        assert longest_waiting(waiting, 2) == [waiting[1], waiting[2]]

    def test_a_request_that_is_being_answered_is_never_given_up(self) -> None:
        """Even if there is nothing else."""
        assert longest_waiting([Waiting(ANSWERING, 0)] * 3, 3) == []
        incomplete = Waiting(RECEIVING, 9)
        assert longest_waiting([Waiting(ANSWERING, 0), Waiting(ANSWERING, 0), incomplete], 3) == [incomplete]

    def test_an_idle_connection_of_the_source_with_the_most_goes(self) -> None:
        """Though that of a client with one has been idle longer."""
        idle = [Waiting(IDLE, now, source_address=source) for now, source in enumerate("abbb")]
        assert longest_waiting(idle, 1) == [idle[1]]

    def test_equal_connections_go_in_their_order(self) -> None:
        """Connections have no order of their own."""
        unordered = [Unordered(), Unordered()]
        assert longest_waiting(unordered, 2) == unordered

    def test_nobody_goes_from_an_empty_server(self) -> None:
        """There is nobody."""
        assert longest_waiting([], 5) == []


class TestHoldingMost:
    """Who goes when memory runs out."""

    def test_nobody_goes_below_the_limit(self) -> None:
        """The limit itself is within it."""
        assert holding_most([Waiting(RECEIVING, held=500)] * 2, LIMITS) == []

    def test_the_longest_waiting_of_the_state_that_holds_most_goes(self) -> None:
        """Never one that holds no more than a share."""
        waiting = [Waiting(RECEIVING, now, held) for now, held in enumerate((250, 300, 300, 151))]
        assert holding_most(waiting, LIMITS) == [waiting[1]]
        waiting[2:] = [Waiting(SENDING, 9, 900), Waiting(RECEIVING, 3, 150)]
        assert holding_most(waiting, LIMITS) == [waiting[2]]

    def test_an_eighth_of_the_limit_gets_free(self) -> None:
        """So that the next byte does not call for the next decision; no more than needed."""
        waiting = [Waiting(SENDING, now, 400) for now in range(3)]
        assert holding_most(waiting, LIMITS) == [waiting[0]]
        assert holding_most(waiting, LIMITS._replace(held=900)) == waiting[:2]

    def test_of_equal_connections_the_longest_waiting_goes(self) -> None:
        """A new connection has time to finish."""
        new, old = Waiting(RECEIVING, 2, held=600), Waiting(RECEIVING, 1, held=600)
        assert holding_most([new, old], LIMITS) == [old]

    def test_a_request_that_is_being_answered_goes_if_such_requests_hold_the_most(self) -> None:
        """Memory is bounded, whatever the connections do."""
        waiting = [Waiting(ANSWERING, 0, 400), Waiting(ANSWERING, 1, 400), Waiting(RECEIVING, 2, 400)]
        assert holding_most(waiting, LIMITS._replace(held=1100)) == waiting[:1]

    def test_equal_connections_go_in_their_order(self) -> None:
        """Connections have no order of their own."""
        unordered = [Unordered() for _ in range(4)]
        assert holding_most(unordered, LIMITS) == unordered[:2]

    @given(
        st.lists(st.builds(Waiting, st.sampled_from(STATES), st.floats(0, 9), st.integers(0, 800)), max_size=4),
    )
    def test_the_limit_holds_whatever_the_connections_hold(self, waiting: list[Waiting]) -> None:
        """What is chosen is there, is chosen once, and what remains is within the limit."""
        waiting = [one if one.state in (RECEIVING, SENDING, ANSWERING) else one._replace(held=0) for one in waiting]
        remaining = list(waiting)
        for one in holding_most(waiting, LIMITS):
            remaining.remove(cast("Waiting", one))
        assert sum(one.held for one in remaining) <= LIMITS.held
