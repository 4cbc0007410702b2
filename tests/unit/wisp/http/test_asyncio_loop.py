"""asyncio's loop as the sidecar's: descriptors that are watched, and work that is due at times."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import uvloop

from tests.support.waiting import wait_until_async
from wisp.http.asyncio_loop import AsyncioLoop

NEVER = 1e6
RUNNERS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Factory = Callable[[], asyncio.AbstractEventLoop]


@dataclass(eq=False)
class Work:
    """Work that is due at each of some times, one after another, and remembers when it was done."""

    times: list[float]
    ticks: list[float] = field(default_factory=list)
    then: Callable[[], None] = lambda: None

    def due(self) -> float | None:
        """Return the first time."""
        return self.times[0] if self.times else None

    def tick(self) -> None:
        """Do the work."""
        self.ticks.append(time.monotonic())
        self.times.pop(0)
        self.then()


def run(factory: Factory, scenario: Callable[[AsyncioLoop], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scenario(AsyncioLoop())

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(whole())


@RUNNERS
def test_work_is_done_each_time_it_is_due_and_never_before(factory: Factory) -> None:
    async def scenario(loop: AsyncioLoop) -> None:
        now = loop.clock()
        times = [now - 1, now + 0.01, now + 0.0155, now + 0.03]
        work = Work([*times])
        loop.add_timed(work)
        await wait_until_async(lambda: not work.times)
        assert all(done >= due for done, due in zip(work.ticks, times, strict=True))

    run(factory, scenario)


@RUNNERS
def test_work_that_is_due_earlier_is_planned_again(factory: Factory) -> None:
    async def scenario(loop: AsyncioLoop) -> None:
        work = Work([loop.clock() + NEVER])
        loop.add_timed(work)
        work.times.insert(0, loop.clock())
        loop.add_timed(work)
        await wait_until_async(lambda: work.ticks)
        loop.remove_timed(work)

    run(factory, scenario)


@RUNNERS
def test_removed_work_is_not_done(factory: Factory) -> None:
    """Whether it is removed before it is due, or by another's work, or by its own."""

    async def scenario(loop: AsyncioLoop) -> None:
        now = loop.clock()
        removed, last = Work([now, now]), Work([now + 0.01])
        own = Work([now, now], then=lambda: loop.remove_timed(own))
        for work in (removed, own, last):
            loop.add_timed(work)
        loop.remove_timed(removed)
        loop.remove_timed(removed)
        await wait_until_async(lambda: last.ticks)
        assert (len(removed.ticks), len(own.ticks)) == (0, 1)

    run(factory, scenario)


@RUNNERS
def test_work_can_be_added_again_by_itself(factory: Factory) -> None:
    async def scenario(loop: AsyncioLoop) -> None:
        def again() -> None:
            loop.remove_timed(work)
            loop.add_timed(work)

        work = Work([loop.clock()] * 3, then=again)
        loop.add_timed(work)
        await wait_until_async(lambda: not work.times)
        assert len(work.ticks) == 3

    run(factory, scenario)


@RUNNERS
def test_watched_descriptor_calls_back_until_it_is_forgotten(factory: Factory) -> None:
    async def scenario(loop: AsyncioLoop) -> None:
        ours, theirs = socket.socketpair()
        received: list[bytes] = []
        with ours, theirs:
            ours.setblocking(False)  # noqa: FBT003 -- the standard library's signature
            loop.watch(ours.fileno(), lambda _events: received.append(ours.recv(100)))
            for message in (b"one", b"two"):
                theirs.send(message)
                await wait_until_async(lambda message=message: message in received)  # type: ignore[misc]
            loop.forget(ours.fileno())
            loop.forget(ours.fileno())
            theirs.send(b"three")
            await asyncio.sleep(0.01)
            assert received == [b"one", b"two"]

    run(factory, scenario)
