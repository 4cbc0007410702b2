"""Decides which connections are closed when a server has no place, no file descriptor or no memory left."""

from collections.abc import Collection
from typing import Literal, TypeAlias

from wisp.http.connection import IDLE, STATES, Limits, ServerConnection, State

_MOMENT = 0.001
"""Seconds that each connection counts for at least, so that of new ones the largest goes first."""

Reason: TypeAlias = Literal["source", "connections", "memory", "descriptors"]


def longest_waiting(connections: Collection[ServerConnection], count: int) -> list[ServerConnection]:
    """Return at most `count` connections to close for want of places, in that order.

    Those that only wait for the client to close go first. Then the longest waiting of the state with the most
    connections goes, so that whatever fills the places makes room: handshakes cannot displace requests that are on
    their way, nor these idle connections, nor the reverse. A genuine client gets from one state to the next within
    milliseconds, so it is not the one that has waited longest. Of idle connections, those of the source address with
    the most go first: clients have one or a few. A request that is being answered is never given up.
    """
    sources: dict[str, int] = {}
    groups: dict[State, list[ServerConnection]] = {state: [] for state in STATES}
    chosen = []
    for connection in sorted(connections, key=_since):
        sources[connection.source_address] = sources.get(connection.source_address, 0) + 1
        if connection.state.makes_room == "first":
            chosen.append(connection)
        elif connection.state.makes_room != "no":
            groups[connection.state].append(connection)
    if len(sources) > 1:
        groups[IDLE].sort(key=lambda connection: -sources[connection.source_address])
    for group in groups.values():
        group.reverse()
    while len(chosen) < count and (longest := max(groups.values(), key=len)):
        chosen.append(longest.pop())
    return chosen[:count]


def holding_most(connections: Collection[ServerConnection], limits: Limits, *, now: float) -> list[ServerConnection]:
    """Return the connections to close if all of them together hold too many bytes; an eighth of the limit gets free.

    They are of the state that holds the most bytes: those first that have held the most for the longest time (bytes
    multiplied by seconds), so a request of usual size that has just come does not make room for large ones. Connections
    that hold no more than an equal share are left alone: all of those together cannot exceed the limit.
    """
    held, share = _bytes_of(connections), limits.held // limits.connections
    if held <= limits.held:
        return []
    groups: dict[State, list[ServerConnection]] = {state: [] for state in STATES}
    for connection in connections:
        if connection.held > share:
            groups[connection.state].append(connection)
    sums = {state: _bytes_of(group) for state, group in groups.items()}
    for group in groups.values():
        group.reverse()
        group.sort(key=lambda connection: connection.held * (now - connection.since + _MOMENT))
    chosen = []
    while held > limits.held * 7 // 8 and (group := groups[max(sums, key=sums.__getitem__)]):
        connection = group.pop()
        chosen.append(connection)
        held -= connection.held
        sums[connection.state] -= connection.held
    return chosen


def _since(connection: ServerConnection) -> float:
    return connection.since


def _bytes_of(group: Collection[ServerConnection]) -> int:
    return sum(connection.held for connection in group)
