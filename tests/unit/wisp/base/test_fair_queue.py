"""Turns are bounded, shared fairly between keys, and never lost."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.base.fair_queue import FairQueue, QueueFullError


class Operation:
    """An operation that runs from its turn until the test ends it."""

    def __init__(self, operations: "Operations", key: str) -> None:
        self.key = key
        self.runs = False
        self._operations = operations
        self._end = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._operations.queue.turn(self.key):
            self.runs = True
            self._operations.begun.append(self)
            self._operations.check()
            try:
                await self._end.wait()
            finally:
                self.runs = False

    def end(self) -> None:
        """End it, at once or as soon as it runs."""
        self._end.set()

    @property
    def waits(self) -> bool:
        """Whether it neither runs nor has ended."""
        return not self.task.done() and not self.runs

    @property
    def was_refused(self) -> bool:
        """Whether the queue was full."""
        return self.task.done() and not self.task.cancelled() and isinstance(self.task.exception(), QueueFullError)


class Operations:
    """A queue with operations."""

    def __init__(self, at_once: int, per_key: int, waiting: int) -> None:
        self.queue = FairQueue(at_once, per_key, waiting)
        self.limits = (at_once, per_key, waiting)
        self.all: list[Operation] = []
        self.begun: list[Operation] = []

    def add(self, *keys: str) -> list[Operation]:
        """Begin an operation for each key."""
        added = [Operation(self, key) for key in keys]
        self.all += added
        return added

    @property
    def order(self) -> str:
        """The keys of the operations that began, in order."""
        return "".join(operation.key for operation in self.begun)

    def check(self) -> None:
        """Check the limits."""
        at_once, per_key, waiting = self.limits
        running = Counter(operation.key for operation in self.all if operation.runs)
        assert running.total() <= at_once
        assert max(running.values(), default=0) <= per_key
        assert self.queue.waiting <= waiting

    def check_settled(self) -> None:
        """Check that nobody waits who could run, and that the queue counts right."""
        self.check()
        at_once, per_key, _ = self.limits
        running = Counter(operation.key for operation in self.all if operation.runs)
        waiting = [operation.key for operation in self.all if operation.waits]
        assert (self.queue.running, self.queue.waiting) == (running.total(), len(waiting))
        assert running.total() == at_once or all(running[key] == per_key for key in waiting)

    async def end_one_by_one(self) -> None:
        """End the operations in the order in which they begin."""
        ended = 0
        while ended < len(self.begun):
            self.begun[ended].end()
            await settle()
            ended += 1


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_keys_take_turns() -> None:
    async def scenario() -> None:
        operations = Operations(1, 1, 100)
        operations.add(*"xaaaabbc")
        await settle()
        await operations.end_one_by_one()
        assert operations.order == "xabcabaa"

    run(scenario())


def test_key_with_its_share_under_way_waits_though_turns_are_free() -> None:
    async def scenario() -> None:
        operations = Operations(4, 2, 100)
        operations.add(*"aaab")
        await settle()
        assert operations.order == "aab"
        operations.add("b", "b")
        await settle()
        assert operations.order == "aabb"
        operations.begun[0].end()
        await settle()
        assert operations.order == "aabba"
        for operation in operations.all:
            operation.end()

    run(scenario())


def test_operation_in_a_full_queue_is_refused() -> None:
    async def scenario() -> None:
        operations = Operations(1, 1, 2)
        *others, last = operations.add(*"aaaa")
        await settle()
        assert last.was_refused
        for operation in others:
            operation.end()
        await asyncio.gather(*(operation.task for operation in others))

    run(scenario())


def test_queue_full_of_one_key_has_room_for_another() -> None:
    """The newest operation of the key with the most gives way."""

    async def scenario() -> None:
        operations = Operations(1, 1, 3)
        operations.add(*"aaaa")
        await settle()
        (other,) = operations.add("b")
        await settle()
        assert [operation.was_refused for operation in operations.all] == [False, False, False, True, False]
        assert other.waits
        await operations.end_one_by_one()
        assert operations.order == "aaba"

    run(scenario())


def test_queue_full_of_many_keys_refuses_newcomers() -> None:
    async def scenario() -> None:
        operations = Operations(1, 1, 3)
        operations.add(*"abcd")
        await settle()
        (newcomer,) = operations.add("e")
        await settle()
        assert newcomer.was_refused
        await operations.end_one_by_one()
        assert operations.order == "abcd"

    run(scenario())


def test_failed_operation_gives_its_turn_back() -> None:
    async def scenario() -> None:
        queue = FairQueue(1, 1, 0)
        with pytest.raises(ZeroDivisionError):
            async with queue.turn("a"):
                raise ZeroDivisionError
        async with queue.turn("a"):
            assert (queue.running, queue.waiting) == (1, 0)

    run(scenario())


def test_turn_of_an_operation_cancelled_when_it_gets_it_goes_to_the_next() -> None:
    async def scenario() -> None:
        operations = Operations(1, 1, 3)
        first, second, third = operations.add(*"abc")
        await settle()
        first.end()
        # From then on the second has the turn, and is about to be woken.
        while not first.task.done():  # noqa: ASYNC110 -- an event would wake the test too late
            await asyncio.sleep(0)
        assert second.waits
        second.task.cancel()
        await settle()
        assert third.runs
        third.end()

    run(scenario())


def test_turn_does_not_go_to_an_operation_that_is_being_cancelled() -> None:
    async def scenario() -> None:
        operations = Operations(1, 1, 3)
        first, second, third = operations.add(*"abc")
        await settle()
        first.end()
        second.task.cancel()  # it does not know yet when the first ends
        await settle()
        assert first.task.exception() is None
        assert third.runs
        third.end()

    run(scenario())


def test_operation_that_is_being_cancelled_gives_way_in_a_full_queue() -> None:
    async def scenario() -> None:
        operations = Operations(1, 1, 2)
        operations.add(*"aaa")
        await settle()
        (other,) = operations.add("b")
        operations.all[2].task.cancel()
        await settle()
        assert other.waits
        await operations.end_one_by_one()
        assert operations.order == "aab"

    run(scenario())


steps = st.tuples(st.sampled_from(["add", "add", "end", "cancel", "settle", "turn"]), st.integers(0, 30))


@given(st.lists(steps, max_size=60), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6))
def test_limits_hold_and_nothing_is_lost(
    script: list[tuple[str, int]], at_once: int, per_key: int, waiting: int
) -> None:
    """Every operation runs, is cancelled or refused; no turn stays unused, whatever is cancelled when."""

    async def scenario() -> None:
        operations = Operations(at_once, per_key, waiting)
        for step, number in script:
            if step == "add":
                operations.add("abcde"[number % 5])
            elif step in ("end", "cancel") and operations.all:
                operation = operations.all[number % len(operations.all)]
                (operation.end if step == "end" else operation.task.cancel)()
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "settle":
                await settle()
                operations.check_settled()
            operations.check()
        for operation in operations.all:
            operation.end()
        await asyncio.gather(*(operation.task for operation in operations.all), return_exceptions=True)
        for operation in operations.all:
            assert operation.was_refused or operation.task.cancelled() or operation.task.exception() is None
        assert (operations.queue.running, operations.queue.waiting) == (0, 0)
        assert not operations.queue._running
        assert not operations.queue._queues

    run(scenario())


@given(st.text("abc", min_size=1, max_size=30))
def test_no_key_gets_two_turns_while_another_waits(keys: str) -> None:
    async def scenario() -> None:
        operations = Operations(1, 1, 100)
        operations.add(*keys)
        await settle()
        await operations.end_one_by_one()
        assert sorted(operations.order) == sorted(keys)
        # The first operation ran before any waited. Then runs of one key come last, when no other key is left.
        runs = [len(list(group)) for _, group in groupby(operations.order[1:])]
        assert all(length == 1 for length in runs[:-1])

    run(scenario())
