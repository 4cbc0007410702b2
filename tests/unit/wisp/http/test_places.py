"""Which connection must go when places or memory are used up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.http.places import STATES, Evict, Limits, Place, Places, Refuse, State

GROUPS = (State.ACCEPTED, State.HANDSHAKE, State.INCOMPLETE, State.IDLE, State.SENDING)


def filled(states: list[str], *, per_source: int = 0, held: int = 1000) -> tuple[Places[Place], list[Place]]:
    """Return places that are all taken, by connections of one source in these states, the oldest first."""
    places: Places[Place] = Places(Limits(len(states), per_source, held))
    taken = [Place("a", State.HANDSHAKE) for _ in states]
    for now, (place, state) in enumerate(zip(taken, states, strict=True)):
        places.enter(place, now)
        places.move(place, state, now)
    return places, taken


def test_there_is_room_below_the_limit() -> None:
    """Nobody goes."""
    places: Places[Place] = Places(Limits(2, 0, 1000))
    places.enter(Place("a", State.INCOMPLETE), 0)
    assert places.for_newcomer("a") is None


@pytest.mark.parametrize("state", GROUPS)
@pytest.mark.parametrize("other", GROUPS)
def test_what_fills_the_places_makes_room(state: str, other: str) -> None:
    """The one that has waited longest of the largest group goes, though one of another group waits longer."""
    places, taken = filled([other, state, state, state])
    assert places.for_newcomer("b") == Evict(taken[0 if other == state else 1], "connections")


def test_one_that_only_waits_for_the_clients_end_goes_first() -> None:
    """Its response has been sent."""
    places, taken = filled([State.IDLE, State.IDLE, State.FINISHING])
    assert places.for_newcomer("b") == Evict(taken[2], "connections")


def test_what_is_being_answered_is_never_given_up_for_a_newcomer() -> None:
    """The newcomer is refused if there is nothing else."""
    places, taken = filled([State.ANSWERING, State.ANSWERING, State.INCOMPLETE])
    assert places.for_newcomer("b") == Evict(taken[2], "connections")
    places, _ = filled([State.ANSWERING] * 3)
    assert places.for_newcomer("b") == Refuse("connections")


def test_an_idle_connection_of_the_source_with_the_most_goes() -> None:
    """Though that of a client with one has been idle longer."""
    places: Places[Place] = Places(Limits(4, 0, 1000))
    taken = [Place(source, State.IDLE) for source in "abbb"]
    for now, place in enumerate(taken):
        places.enter(place, now)
    assert places.for_newcomer("c") == Evict(taken[1], "connections")


def test_a_source_at_its_limit_displaces_its_own() -> None:
    """Although there is room for others; one whose connections all work is refused."""
    places: Places[Place] = Places(Limits(100, 2, 1000))
    taken = [Place(source, State.INCOMPLETE) for source in "abab"]
    for now, place in enumerate(taken):
        places.enter(place, now)
    assert places.for_newcomer("b") == Evict(taken[1], "source")
    assert places.for_newcomer("c") is None
    for place in taken:
        places.move(place, State.ANSWERING, 9)
    assert places.for_newcomer("b") == Refuse("source")
    places.leave(taken[1])
    assert places.for_newcomer("b") is None


def test_the_largest_part_of_the_memory_makes_room() -> None:
    """The one that has waited longest of those that hold more than a share, never one that holds less."""
    places, taken = filled([State.INCOMPLETE] * 4, held=1000)
    for place, held in zip(taken, (250, 300, 300, 150), strict=True):
        places.hold(place, held)
    assert places.for_memory() is None
    places.hold(taken[3], 151)
    assert places.for_memory() == Evict(taken[1], "memory")
    places.move(taken[2], State.SENDING, 9)
    places.hold(taken[2], 900)
    assert places.for_memory() == Evict(taken[2], "memory")


def test_a_request_that_is_being_answered_goes_if_such_requests_hold_the_most() -> None:
    """Memory is bounded, whatever the connections do."""
    places, taken = filled([State.ANSWERING, State.ANSWERING, State.INCOMPLETE], held=900)
    for place in taken:
        places.hold(place, 400)
    assert places.for_memory() == Evict(taken[0], "memory")


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(STATES), st.integers(0, 200), st.booleans()),
        max_size=60,
    )
)
def test_the_limits_hold_whatever_happens(steps: list[tuple[int, str, int, bool]]) -> None:
    """Counting is exact, and who is chosen is there."""
    limits = Limits(8, 3, 400)
    places: Places[Place] = Places(limits)
    present: list[Place] = []

    def leave(place: Place) -> None:
        places.leave(place)
        present.remove(place)

    for now, (source, state, held, leaves) in enumerate(steps):
        decision = places.for_newcomer(str(source))
        if isinstance(decision, Evict):
            leave(decision.place)
        if not isinstance(decision, Refuse):
            present.append(Place(str(source), State.HANDSHAKE))
            places.enter(present[-1], now)
        if present:
            place = present[held % len(present)]
            places.move(place, state, now)
            places.hold(place, 0 if state in (State.ACCEPTED, State.HANDSHAKE, State.IDLE, State.FINISHING) else held)
        while (heavy := places.for_memory()) is not None:
            leave(heavy.place)
        if leaves and present:
            leave(present[0])
        assert len(places) == len(present) <= limits.connections
        assert set(places) == set(present)
        assert places.held == sum(place.held for place in present) <= limits.held
        assert all(sum(each.source == place.source for each in present) <= limits.per_source for place in present)
