"""Limit how many operations run at once, and share the turns fairly between those who want them."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import TypeAlias

_Waiters: TypeAlias = "OrderedDict[asyncio.Future[None], None]"


class QueueFullError(Exception):
    """Too many operations wait for their turn already."""


class FairQueue:
    """Turns for operations, each on behalf of a key: a client, or an identity.

    At most `at_once` run at the same time, at most `per_key` of them for one key. Others wait. The keys that have
    operations waiting take turns, so a key with a thousand of them delays another key's by about one operation.
    At most `waiting` wait; in a full queue, a key's operation takes the place of the newest operation of the key with
    the most, as long as that has at least two more waiting.

    Only the thread of one event loop may use it.
    """

    def __init__(self, at_once: int, per_key: int, waiting: int) -> None:
        self._at_once = at_once
        self._per_key = per_key
        self._most_waiting = waiting
        self._running: Counter[Hashable] = Counter()
        self._queues: OrderedDict[Hashable, _Waiters] = OrderedDict()
        """The operations that wait, by key, in the order in which the keys get their turns. None is empty."""
        self.running = 0
        """Operations that have their turn."""
        self.waiting = 0
        """Operations that wait for it."""

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for a turn, and hold it until the end of the block. Raise QueueFullError, sooner or later, if full."""
        if self.running < self._at_once and self._running[key] < self._per_key:
            self._take(key)
        else:
            await self._wait(key)
        try:
            yield
        finally:
            self._give_back(key)

    def _take(self, key: Hashable) -> None:
        self.running += 1
        self._running[key] += 1

    def _give_back(self, key: Hashable) -> None:
        self.running -= 1
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        self._pass_on()

    async def _wait(self, key: Hashable) -> None:
        """Return once the turn is taken."""
        if self.waiting >= self._most_waiting:
            self._make_room(key)
        turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(key, OrderedDict())[turn] = None
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._remove(key, turn)
            elif turn.exception() is None:  # it was given the turn, and cancelled before it could use it
                self._give_back(key)
            raise

    def _make_room(self, key: Hashable) -> None:
        """Refuse the newest operation of the key with the most waiting, or raise QueueFullError if that is `key`'s."""
        longest = max(self._queues, key=lambda other: len(self._queues[other]), default=key)
        if len(self._queues.get(longest, ())) < len(self._queues.get(key, ())) + 2:
            raise QueueFullError
        newest = next(reversed(self._queues[longest]))
        self._remove(longest, newest)
        if not newest.done():
            newest.set_exception(QueueFullError())

    def _remove(self, key: Hashable, turn: "asyncio.Future[None]") -> None:
        waiters = self._queues.get(key, OrderedDict())
        if turn in waiters:
            del waiters[turn]
            self.waiting -= 1
            if not waiters:
                del self._queues[key]

    def _pass_on(self) -> None:
        """Give free turns to those who wait."""
        while self.running < self._at_once and (key := self._next_key()) is not None:
            turn = next(iter(self._queues[key]))
            self._queues.move_to_end(key)
            self._remove(key, turn)
            if not turn.done():  # it may have been cancelled, and not know it yet
                self._take(key)
                turn.set_result(None)

    def _next_key(self) -> Hashable | None:
        """Return the first key that may run another operation: fewer than `at_once` keys may not."""
        return next((key for key in self._queues if self._running[key] < self._per_key), None)
