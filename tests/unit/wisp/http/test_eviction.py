"""Which connections are closed to make room, and in which order."""

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


class WaitingConnection(NamedTuple):
    """A connection with the attributes that the eviction decision reads."""

    state: State
    since: float = 0.0
    held: int = 0
    source_address: str = ""


def longest_waiting(waiting: Collection[object], count: int) -> list[object]:
    """Call `longest_waiting` with fakes that have the attributes it reads."""
    return list(eviction.longest_waiting(cast("Collection[ServerConnection]", waiting), count))


def holding_most(waiting: Collection[object], limits: Limits) -> list[object]:
    """Call `holding_most` with fakes that have the attributes it reads."""
    return list(eviction.holding_most(cast("Collection[ServerConnection]", waiting), limits, now=10.0))


class Unordered:
    """A connection that does not support comparison."""

    state, since, held, source_address = RECEIVING, 1.0, 300, ""


class TestLongestWaiting:
    """Eviction when the server has no free connection slot."""

    @pytest.mark.parametrize("state", [FINISHING, FLUSHING], ids=name)
    def test_finished_connections_are_evicted_first(self, state: State) -> None:
        """Evicting them loses nothing."""
        done, idle, incomplete = (
            WaitingConnection(state, 9),
            WaitingConnection(IDLE, 8),
            WaitingConnection(RECEIVING, 1),
        )
        assert longest_waiting([incomplete, idle, done], 3) == [done, idle, incomplete]
        assert longest_waiting([idle, idle, done], 1) == [done]

    @pytest.mark.parametrize("many", DISPLACEABLE, ids=name)
    @pytest.mark.parametrize("one", DISPLACEABLE, ids=name)
    def test_state_with_the_most_connections_is_evicted_from(self, many: State, one: State) -> None:
        """Many connections in one state never displace a connection in another, however long that one has waited."""
        crowd, other = [WaitingConnection(many, since) for since in (4, 5, 3)], WaitingConnection(one, 1)
        expected = [other, crowd[2]] if many is one else [crowd[2], crowd[0]]
        assert longest_waiting([other, *crowd], 2) == expected

    def test_longest_waiting_connection_of_a_state_is_evicted_first(self) -> None:
        """The memory that connections hold does not matter."""
        waiting = [WaitingConnection(RECEIVING, since, held=since) for since in (5, 3, 4)]
        assert longest_waiting(waiting, 2) == [waiting[1], waiting[2]]

    def test_connection_with_a_request_in_progress_is_never_evicted_for_a_place(self) -> None:
        assert longest_waiting([WaitingConnection(ANSWERING, 0)] * 3, 3) == []
        incomplete = WaitingConnection(RECEIVING, 9)
        assert longest_waiting([WaitingConnection(ANSWERING, 0), WaitingConnection(ANSWERING, 0), incomplete], 3) == [
            incomplete
        ]

    def test_idle_connection_of_the_busiest_source_is_evicted(self) -> None:
        """Even if the connection of a source with only one has been idle longer."""
        idle = [WaitingConnection(IDLE, now, source_address=source) for now, source in enumerate("abbb")]
        assert longest_waiting(idle, 1) == [idle[1]]

    def test_equal_connections_are_evicted_in_list_order(self) -> None:
        """Connections cannot be compared with each other."""
        unordered = [Unordered(), Unordered()]
        assert longest_waiting(unordered, 2) == unordered

    def test_empty_server_evicts_nothing(self) -> None:
        assert longest_waiting([], 5) == []


class TestHoldingMost:
    """Eviction when the connections hold too much memory."""

    def test_nothing_is_evicted_up_to_the_memory_limit(self) -> None:
        assert holding_most([WaitingConnection(RECEIVING, held=500)] * 2, LIMITS) == []

    def test_longest_waiting_connection_of_the_largest_state_is_evicted(self) -> None:
        """A connection that holds no more than its share is never evicted."""
        waiting = [WaitingConnection(RECEIVING, now, held) for now, held in enumerate((250, 300, 300, 151))]
        assert holding_most(waiting, LIMITS) == [waiting[1]]
        waiting[2:] = [WaitingConnection(SENDING, 9, 900), WaitingConnection(RECEIVING, 3, 150)]
        assert holding_most(waiting, LIMITS) == [waiting[2]]

    def test_eviction_frees_an_eighth_of_the_memory_limit(self) -> None:
        """The next byte must not require another decision, and no more than needed is evicted."""
        waiting = [WaitingConnection(SENDING, now, 400) for now in range(3)]
        assert holding_most(waiting, LIMITS) == [waiting[0]]
        assert holding_most(waiting, LIMITS._replace(held=900)) == waiting[:2]

    def test_longest_waiting_of_equally_large_connections_is_evicted(self) -> None:
        """A new connection has time to finish."""
        new, old = WaitingConnection(RECEIVING, 2, held=600), WaitingConnection(RECEIVING, 1, held=600)
        assert holding_most([new, old], LIMITS) == [old]

    def test_request_of_usual_size_does_not_make_room_for_large_ones(self) -> None:
        """The oldest connection is not closed if others hold the bytes."""
        usual, large = WaitingConnection(RECEIVING, 9.96, held=260), WaitingConnection(RECEIVING, 9.98, held=900)
        assert holding_most([usual, large], LIMITS) == [large]

    def test_requests_in_progress_are_evicted_if_they_hold_the_most_memory(self) -> None:
        """Memory is bounded in every case."""
        waiting = [
            WaitingConnection(ANSWERING, 0, 400),
            WaitingConnection(ANSWERING, 1, 400),
            WaitingConnection(RECEIVING, 2, 400),
        ]
        assert holding_most(waiting, LIMITS._replace(held=1100)) == waiting[:1]

    def test_equal_connections_are_evicted_in_list_order(self) -> None:
        """Connections cannot be compared with each other."""
        unordered = [Unordered() for _ in range(4)]
        assert holding_most(unordered, LIMITS) == unordered[:2]

    @given(
        st.lists(
            st.builds(WaitingConnection, st.sampled_from(STATES), st.floats(0, 9), st.integers(0, 800)), max_size=4
        ),
    )
    def test_memory_limit_holds_for_any_connections(self, waiting: list[WaitingConnection]) -> None:
        """Evicted connections exist, are evicted once, and the remaining ones are within the limit."""
        waiting = [one if one.state in (RECEIVING, SENDING, ANSWERING) else one._replace(held=0) for one in waiting]
        remaining = list(waiting)
        for one in holding_most(waiting, LIMITS):
            remaining.remove(cast("WaitingConnection", one))
        assert sum(one.held for one in remaining) <= LIMITS.held
