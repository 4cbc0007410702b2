"""Decides which connections are closed when the server has no place or no memory left."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

DONE, IDLE, INCOMPLETE, WORKING = range(4)
"""Stages of a connection.

DONE: the last answer is sent and the connection is closing. IDLE: no request is under way. INCOMPLETE: a request has
not arrived whole (none of it, on a new connection), or an answer is not sent whole. WORKING: the application is working
on the answer; closing the connection would not end that work, so it is never given up.
"""


class Candidate(Protocol):
    """A connection that may be closed."""

    @property
    def stage(self) -> int:
        """One of the stages above."""

    @property
    def since(self) -> float:
        """When its present wait began, in seconds of the server's clock; progress of single bytes does not renew it."""

    @property
    def held(self) -> int:
        """Bytes received and not yet answered, and bytes of answers not yet sent."""


C = TypeVar("C", bound=Candidate)


def longest_waiting(candidates: Iterable[C], count: int) -> list[C]:
    """Return at most `count` connections to close for want of places, in that order.

    Those that are done go first. Of idle and incomplete ones, the longest waiting of the larger group goes, so that
    whatever fills the places makes room: slow clients do not displace idle connections, nor the reverse. A genuine
    request is answered within milliseconds of its beginning, so it is not the one that has waited longest.
    """
    groups: dict[int, list[C]] = {stage: [] for stage in (DONE, IDLE, INCOMPLETE, WORKING)}
    for candidate in candidates:
        groups[candidate.stage].append(candidate)
    done, idle, incomplete = (sorted(groups[stage], key=_since) for stage in (DONE, IDLE, INCOMPLETE))
    chosen = done[:count]
    idle.reverse()
    incomplete.reverse()
    while len(chosen) < count and (idle or incomplete):
        chosen.append((idle if len(idle) >= len(incomplete) else incomplete).pop())
    return chosen


def _since(candidate: Candidate) -> float:
    return candidate.since


def largest(candidates: Iterable[C], excess: int) -> list[C]:
    """Return connections to close to free `excess` bytes: those that hold most, of equals the longest waiting."""
    chosen = []
    for candidate in sorted(candidates, key=lambda each: (-each.held, each.since)):
        if excess <= 0 or candidate.held == 0:
            break
        if candidate.stage < WORKING:
            chosen.append(candidate)
            excess -= candidate.held
    return chosen
