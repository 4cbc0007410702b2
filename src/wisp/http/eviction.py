"""Decides which connections are closed when the server has no place or no memory left."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

DONE, IDLE, INCOMPLETE, WORKING = range(4)
"""Stages of a connection, in the order in which they are given up.

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
    """Return at most `count` connections to close for want of places, in that order."""
    evictable = [
        (stage, candidate.since, candidate) for candidate in candidates if (stage := candidate.stage) < WORKING
    ]
    evictable.sort(key=lambda each: each[:2])
    return [candidate for _stage, _since, candidate in evictable[:count]]


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
