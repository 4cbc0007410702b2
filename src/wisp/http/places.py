"""Decide which connection must go when a listener's places or memory are used up. Knows no socket and no clock."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeAlias, TypeVar

Reason: TypeAlias = Literal["source", "connections", "memory", "descriptors"]


class State:
    """What a connection waits for. Not an enum: its members take five times as long to look up, for each request."""

    ACCEPTED: Final = "accepted"
    """The client's first message of the TLS handshake."""
    HANDSHAKE: Final = "handshake"
    """The client's second message of the TLS handshake."""
    INCOMPLETE: Final = "incomplete"
    """The client's first request, or the rest of a request."""
    IDLE: Final = "idle"
    """The client's next request."""
    ANSWERING: Final = "answering"
    """The application's response."""
    SENDING: Final = "sending"
    """The client: it has not yet read the whole response."""
    FINISHING: Final = "finishing"
    """The client's end of the connection: the last response has been sent."""


_EVICTABLE: Final = (State.ACCEPTED, State.HANDSHAKE, State.INCOMPLETE, State.IDLE, State.SENDING)
_HOLDING: Final = (State.INCOMPLETE, State.SENDING, State.ANSWERING)
STATES: Final = (*_EVICTABLE, State.ANSWERING, State.FINISHING)


class Place:
    """One accepted connection: its source address, its state and since when (seconds), and the bytes it holds."""

    __slots__ = ("held", "since", "source", "state")

    def __init__(self, source: str, state: str) -> None:
        self.source = source
        self.state = state
        self.since = 0.0
        self.held = 0


PlaceT = TypeVar("PlaceT", bound=Place)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one listener: connections, connections of one source address (0: no limit), and bytes held by all."""

    connections: int
    per_source: int
    held: int


@dataclass(frozen=True, slots=True)
class Evict(Generic[PlaceT]):
    """Close `place` to make room."""

    place: PlaceT
    reason: Reason


@dataclass(frozen=True, slots=True)
class Refuse:
    """Close the new connection: no other may be closed for it."""

    reason: Reason


class Places(Generic[PlaceT]):
    """The connections of one listener, by state and by source address.

    Each state lists its connections in the order in which they entered it, so the first has waited longest.
    """

    def __init__(self, limits: Limits) -> None:
        self.held = 0
        """Bytes of incomplete requests, requests being answered and unsent responses, of all connections."""
        self._limits = limits
        self._by_state: dict[str, dict[PlaceT, None]] = {state: {} for state in STATES}
        self._by_source: dict[str, dict[PlaceT, None]] = {}

    def __len__(self) -> int:
        """Return the number of connections."""
        return sum(map(len, self._by_state.values()))

    def __iter__(self) -> Iterator[PlaceT]:
        """Return the connections; none may come or go meanwhile."""
        for places in self._by_state.values():
            yield from places

    def enter(self, place: PlaceT, now: float) -> None:
        """Count a connection that was just accepted."""
        place.since = now
        self._by_state[place.state][place] = None
        self._by_source.setdefault(place.source, {})[place] = None

    def leave(self, place: PlaceT) -> None:
        """Stop counting a connection that was closed."""
        self.hold(place, 0)
        del self._by_state[place.state][place]
        neighbours = self._by_source[place.source]
        del neighbours[place]
        if not neighbours:
            del self._by_source[place.source]

    def move(self, place: PlaceT, state: str, now: float) -> None:
        """Record that `place` has been in `state` since `now`."""
        place.since = now
        if place.state != state:
            del self._by_state[place.state][place]
            place.state = state
            self._by_state[state][place] = None

    def hold(self, place: PlaceT, held: int) -> None:
        """Record how many bytes `place` holds."""
        self.held += held - place.held
        place.held = held

    def for_newcomer(self, source: str) -> Evict[PlaceT] | Refuse | None:
        """Decide about a new connection from `source`; None if there is room."""
        limits = self._limits
        neighbours = self._by_source.get(source, {})
        if limits.per_source and len(neighbours) >= limits.per_source:
            of_source: dict[str, list[PlaceT]] = {state: [] for state in STATES}
            for place in neighbours:
                of_source[place.state].append(place)
            return self._evict(of_source, "source") or Refuse("source")
        if len(self) >= limits.connections:
            return self._evict(self._by_state, "connections") or Refuse("connections")
        return None

    def for_descriptor(self) -> Evict[PlaceT] | None:
        """Return the connection to close because the process or the machine has no file descriptor left."""
        return self._evict(self._by_state, "descriptors")

    def for_memory(self) -> Evict[PlaceT] | None:
        """Return the connection to close because all of them hold too many bytes; None if they do not.

        It is the one that has waited longest in the state that holds the most bytes. Connections that hold less than
        an equal share are left alone: all of them together cannot exceed the limit.
        """
        if self.held <= self._limits.held:
            return None
        share = self._limits.held // self._limits.connections
        states = [[place for place in self._by_state[state] if place.held > share] for state in _HOLDING]
        heaviest = max(states, key=lambda places: sum(place.held for place in places))
        return Evict(min(heaviest, key=_since), "memory") if heaviest else None

    def _evict(self, by_state: Mapping[str, Collection[PlaceT]], reason: Reason) -> Evict[PlaceT] | None:
        """Return the connection that is least worth its place, None if all are being answered.

        One that only waits for the client to hang up goes first. Otherwise it is the one that has waited longest in
        the state with the most connections, so that whatever fills the places is what makes room: handshakes cannot
        displace requests that are on their way, nor these idle connections, nor the reverse. A genuine client gets
        from one state to the next within milliseconds, so it is not the one that has waited longest.
        """
        finishing = by_state[State.FINISHING]
        largest = max(_EVICTABLE, key=lambda state: len(by_state[state]))
        places = finishing or by_state[largest]
        if not places:
            return None
        if places is by_state[State.IDLE]:  # of the source with the most connections: clients have one or a few
            return Evict(min(places, key=lambda place: (-len(self._by_source[place.source]), place.since)), reason)
        return Evict(min(places, key=_since) if isinstance(places, list) else next(iter(places)), reason)


def _since(place: Place) -> float:
    return place.since
