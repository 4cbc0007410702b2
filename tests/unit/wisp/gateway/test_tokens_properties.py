"""Whatever callers, Entra and time do: everybody is answered, limits hold, and nothing is left behind."""

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import granted
from tests.unit.wisp.gateway.identities import DAY, EVENTUAL, REFUSED, World, key_of, settle
from wisp.entra.freshness import Token
from wisp.entra.messages import MOST_AT_ONCE, Refused, Result, unavailable

MOST = 12
RESULTS: list[Result] = [
    granted(expires_in=DAY),
    granted(expires_in=1000),
    REFUSED,
    EVENTUAL,
    unavailable("down"),
    Refused(429, "too_many_requests", "slow down", "throttled", None, 17.0),
]

asking = st.tuples(st.just("ask"), st.integers(0, 8), st.integers(0, 4))
others = st.tuples(
    st.sampled_from(["cancel", "answer", "answer", "wait", "turn", "renew"]), st.integers(0, 50), st.integers(0, 5)
)
SECONDS = (0.5, 3.0, 40.0, 600.0, DAY / 2, DAY)


@settings(deadline=None)
@given(st.lists(asking | others, max_size=60))
def test_everybody_is_answered_and_limits_hold(script: list[tuple[str, int, int]]) -> None:
    async def scenario() -> None:
        world = World(most=MOST)
        tasks: list[asyncio.Task[Token | Refused]] = []
        for step, first, second in script:
            match step:
                case "ask" | "renew":
                    key = key_of(first % 9, second)
                    tasks.append(asyncio.create_task(world.tokens.get(key, renew=step == "renew")))
                case "cancel" if tasks:
                    tasks[first % len(tasks)].cancel()
                case "answer" if world.entra.calls:
                    world.entra.calls.insert(0, world.entra.calls.pop(first % len(world.entra.calls)))
                    world.entra.answer(RESULTS[second])
                case "turn":
                    await asyncio.sleep(0)
                case "wait":
                    await settle()
                    await world.pass_time(SECONDS[second])
                    check(world)
        await settle()
        for _ in range(5):  # retries of refusals that time may heal
            await world.answer_all()
            await world.pass_time(3600.0)
        await world.answer_all()
        assert all(task.done() for task in tasks)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        check(world)
        tokens = world.tokens
        assert (tokens._renewals, tokens._queue.running, tokens._queue.waiting) == (0, 0, 0)
        assert not tokens._tasks
        for identity in tokens._identities.values():
            assert identity.is_idle()
            assert not identity.queued
            assert not identity.request_ids
        tokens.close()

    asyncio.run(scenario())


def check(world: World) -> None:
    """Check the limits, and that the tokens are counted right."""
    tokens = world.tokens
    assert len(tokens) == sum(len(identity.store) for identity in tokens._identities.values()) <= MOST
    assert set(world.timers.due) == set(tokens._identities.values())
    assert set(tokens._without_token) <= set(tokens._identities)
    assert set(tokens._postponed) <= set(tokens._identities.values())
    running = Counter(call.key.client_id for call in world.entra.calls)
    assert running.total() <= MOST_AT_ONCE
    assert max(running.values(), default=0) <= 2
    assert max(Counter(call.key for call in world.entra.calls).values(), default=0) <= 1
