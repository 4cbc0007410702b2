"""Decides which connections are closed when a server has no place, no file descriptor or no memory left."""

from collections.abc import Iterable
from typing import Literal, Protocol, TypeAlias, TypeVar

from wisp.http.connection import (
    ACCEPTED,
    ANSWERING,
    FINISHING,
    FLUSHING,
    HANDSHAKE,
    IDLE,
    RECEIVING,
    SENDING,
    Limits,
    State,
)

Reason: TypeAlias = Literal["source", "connections", "memory", "descriptors"]

_DONE = (FINISHING, FLUSHING)
_DISPLACEABLE = (ACCEPTED, HANDSHAKE, IDLE, RECEIVING, SENDING)
_HOLDING = (RECEIVING, SENDING, ANSWERING)


class Candidate(Protocol):
    """A connection that may be closed (see `ServerConnection`)."""

    @property
    def state(self) -> State:
        """What it waits for."""

    @property
    def since(self) -> float:
        """When that wait began, in seconds of a steady clock."""

    @property
    def held(self) -> int:
        """Bytes received and not yet answered, and bytes of responses not yet sent."""

    @property
    def source_address(self) -> str:
        """Where it comes from."""


C = TypeVar("C", bound=Candidate)


def longest_waiting(candidates: Iterable[C], count: int) -> list[C]:
    """Return at most `count` connections to close for want of places, in that order.

    Those that only wait for the client to close go first. Then the longest waiting of the state with the most
    connections goes, so that whatever fills the places makes room: handshakes cannot displace requests that are on
    their way, nor these idle connections, nor the reverse. A genuine client gets from one state to the next within
    milliseconds, so it is not the one that has waited longest. Of idle connections, those of the source address with
    the most go first: clients have one or a few. A request that is being answered is never given up.
    """
    groups: dict[State, list[C]] = {}
    sources: dict[str, int] = {}
    for candidate in candidates:
        groups.setdefault(candidate.state, []).append(candidate)
        sources[candidate.source_address] = sources.get(candidate.source_address, 0) + 1
    chosen = sorted((candidate for state in _DONE for candidate in groups.get(state, ())), key=_since)[:count]
    queues = []
    for state in _DISPLACEABLE:
        queue = sorted(groups.get(state, ()), key=_since)
        if state is IDLE and len(sources) > 1:
            queue.sort(key=lambda candidate: -sources[candidate.source_address])
        queue.reverse()
        queues.append(queue)
    while len(chosen) < count and (longest := max(queues, key=len)):
        chosen.append(longest.pop())
    return chosen


def holding_most(candidates: Iterable[C], limits: Limits) -> list[C]:
    """Return the connections to close if all of them together hold too many bytes; an eighth of the limit gets free.

    They are the longest waiting of the state that holds the most bytes. Connections that hold no more than an equal
    share are left alone: all of those together cannot exceed the limit.
    """
    everything = list(candidates)
    held, share = sum(candidate.held for candidate in everything), limits.held // limits.connections
    if held <= limits.held:
        return []
    everything.sort(key=_since)
    everything.reverse()
    queues = [[one for one in everything if one.state is state and one.held > share] for state in _HOLDING]
    chosen = []
    while held > limits.held * 7 // 8 and (largest := max(queues, key=_bytes_of)):
        chosen.append(largest.pop())
        held -= chosen[-1].held
    return chosen


def _since(candidate: Candidate) -> float:
    return candidate.since


def _bytes_of(queue: Iterable[Candidate]) -> int:
    return sum(candidate.held for candidate in queue)
