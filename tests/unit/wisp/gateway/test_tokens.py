"""Identities share the exchange process, and nothing else: failures, waiting requests and limits are each one's own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.fakes import granted
from tests.support.waiting import wait_until_async
from tests.unit.wisp.gateway.identities import (
    DAY,
    EVENTUAL,
    OTHER_ID,
    REFUSED,
    REQUEST_ID,
    TENANT,
    World,
    key_of,
    outcomes,
    settle,
)
from wisp.base.errors import SettingError
from wisp.entra.freshness import Token
from wisp.entra.messages import MOST_AT_ONCE, Refused, TokenKey, unavailable
from wisp.gateway.tokens import MOST_KEYS, gateway_settings


def run(scenario: Callable[[World], Coroutine[Any, Any, None]], world: Callable[[], World] = World) -> None:
    """Run a scenario on a loop of its own."""

    async def whole() -> None:
        made = world()
        await scenario(made)
        made.tokens.close()
        assert made.entra.is_closed
        await settle()

    asyncio.run(whole())


def test_thousand_callers_of_one_key_cause_one_exchange() -> None:
    async def scenario(world: World) -> None:
        tasks = await world.ask(*[key_of(1)] * 1000)
        assert len(world.entra.begun) == 1
        world.entra.answer()
        assert all(isinstance(outcome, Token) for outcome in await outcomes(*tasks))
        assert isinstance(world.tokens.fresh(key_of(1)), Token)
        assert len(world.tokens) == 1

    run(scenario)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(key_of(2), id="client id"),
        pytest.param(key_of(1, 1), id="scope"),
        pytest.param(key_of(1, claims="{}"), id="claims"),
        pytest.param(key_of(1)._replace(tenant="contoso.example"), id="tenant"),
    ],
)
def test_each_key_has_its_own_exchange(other: TokenKey) -> None:
    async def scenario(world: World) -> None:
        await world.hold(key_of(1))
        assert world.tokens.fresh(other) is None
        await world.ask(other)
        assert [call.key for call in world.entra.begun] == [other]
        assert len(world.tokens) == 2

    run(scenario)


def test_token_is_renewed_in_the_background_at_its_half_life() -> None:
    async def scenario(world: World) -> None:
        await world.hold(key_of(1))
        await world.pass_time(DAY / 2 - 1)
        assert not world.entra.begun
        assert isinstance(world.tokens.fresh(key_of(1)), Token)
        await world.pass_time(2)
        assert [call.key for call in world.entra.begun] == [key_of(1)]
        world.entra.answer(granted("new", DAY))
        await settle()
        token = world.tokens.fresh(key_of(1))
        assert token is not None
        assert token.access_token.reveal() == "new"

    run(scenario)


def test_refused_identity_does_not_affect_another() -> None:
    async def scenario(world: World) -> None:
        await world.hold(key_of(2))
        world.entra.result = REFUSED
        assert await outcomes(*await world.ask(key_of(1))) == [REFUSED]
        assert isinstance(world.tokens.fresh(key_of(2)), Token)
        world.entra.result = granted()
        assert await outcomes(*await world.ask(key_of(1))) == [REFUSED], "it is remembered for a few seconds"
        assert isinstance((await outcomes(*await world.ask(key_of(3))))[0], Token)

    run(scenario)


def test_stale_token_is_given_while_entra_fails() -> None:
    """Until it expires; then refusals have a Retry-After."""

    async def scenario(world: World) -> None:
        await world.hold(key_of(1))
        world.entra.result = unavailable("down")
        await world.pass_time(DAY - 100)
        assert world.tokens.fresh(key_of(1)) is None
        assert isinstance((await outcomes(*await world.ask(key_of(1))))[0], Token)
        await world.pass_time(100)
        (outcome,) = await outcomes(*await world.ask(key_of(1)))
        assert isinstance(outcome, Refused)
        assert outcome.status == 503
        assert outcome.retry_after is not None

    run(scenario)


def test_retry_after_of_entra_is_respected() -> None:
    async def scenario(world: World) -> None:
        world.entra.result = Refused(429, "too_many_requests", "slow down", "throttled", None, 17.0)
        await outcomes(*await world.ask(key_of(1)))
        await world.pass_time(16)
        (outcome,) = await outcomes(*await world.ask(key_of(1)))
        assert isinstance(outcome, Refused)
        assert outcome.retry_after == 1.0
        assert len(world.entra.begun) == 1

    run(scenario)


def test_caller_that_has_gone_does_not_affect_the_others() -> None:
    async def scenario(world: World) -> None:
        first, second, third = await world.ask(*[key_of(1)] * 3)
        first.cancel()
        await settle()
        world.entra.answer()
        second.cancel()  # in the same turn as the answer
        assert isinstance(await third, Token)
        assert first.cancelled()
        assert second.cancelled()

    run(scenario)


def test_exchange_goes_on_when_all_callers_have_gone() -> None:
    """The next one gets its token, and another is not begun."""

    async def scenario(world: World) -> None:
        (task,) = await world.ask(key_of(1))
        task.cancel()
        await settle()
        (late,) = await world.ask(key_of(1))
        assert len(world.entra.begun) == 1
        world.entra.answer()
        assert isinstance(await late, Token)

    run(scenario)


def test_exchange_in_the_queue_is_given_up_when_all_callers_have_gone() -> None:
    """Nobody can fill the queue with requests that they do not wait for."""

    async def scenario(world: World) -> None:
        tasks = await world.ask(*(key_of(1, scope) for scope in range(MOST_KEYS)))
        assert len(world.entra.begun) == 2
        for task in tasks:
            task.cancel()
        await settle()
        await world.answer_all()
        assert len(world.entra.begun) == 2
        (task,) = await world.ask(key_of(1, MOST_KEYS))
        world.entra.answer()
        assert isinstance(await task, Token)

    run(scenario)


@pytest.mark.parametrize("turns", range(8))
def test_caller_can_go_while_its_exchange_runs_out_of_time_in_the_queue(turns: int) -> None:
    async def scenario(world: World) -> None:
        *_, last = (asyncio.create_task(world.tokens.get(key_of(1, scope))) for scope in range(3))
        for _ in range(turns):
            await asyncio.sleep(0)
        last.cancel()
        await settle()
        assert last.cancelled() or isinstance(last.result(), Refused)
        await world.answer_all()

    run(scenario, lambda: World(longest_queued=0.0))


def test_identity_has_two_exchanges_at_once() -> None:
    async def scenario(world: World) -> None:
        tasks = await world.ask(*(key_of(1, scope) for scope in range(10)))
        for begun in range(2, 11):
            assert len(world.entra.begun) == begun
            world.entra.answer()
            await settle()
        await world.answer_all()
        assert all(isinstance(outcome, Token) for outcome in await outcomes(*tasks))

    run(scenario)


def test_exchanges_are_limited_and_identities_take_turns() -> None:
    async def scenario(world: World) -> None:
        await world.ask(*(key_of(identity, scope) for identity in range(4) for scope in range(5)))
        assert len(world.entra.begun) == MOST_AT_ONCE
        await world.ask(key_of(9))
        for _ in range(5):  # of the four identities, each has one turn before it
            world.entra.answer()
            await settle()
        assert key_of(9) in [call.key for call in world.entra.begun]

    run(scenario)


def test_hanging_identity_leaves_room_for_others() -> None:
    async def scenario(world: World) -> None:
        await world.ask(*(key_of(1, scope) for scope in range(MOST_KEYS)))
        for identity in range(2, 50):
            (task,) = await world.ask(key_of(identity))
            world.entra.calls.pop().done(granted())
            assert isinstance(await task, Token)
        assert len(world.entra.calls) == 2

    run(scenario)


def test_exchange_that_does_not_get_its_turn_in_time_is_unavailable() -> None:
    async def scenario(world: World) -> None:
        tasks = await world.ask(*(key_of(1, scope) for scope in range(3)))
        await wait_until_async(tasks[2].done)
        outcome = await tasks[2]
        assert isinstance(outcome, Refused)
        assert (outcome.status, outcome.cause) == (503, "exchange_process")
        assert outcome.retry_after is not None
        assert [task.done() for task in tasks] == [False, False, True], "those that have begun continue"
        await world.answer_all()

    run(scenario, lambda: World(longest_queued=0.01))


def test_identity_has_a_limited_number_of_keys() -> None:
    """The one requested longest ago goes."""

    async def scenario(world: World) -> None:
        for scope in range(MOST_KEYS + 1):
            await world.hold(key_of(1, scope))
            await world.pass_time(1)
        assert len(world.tokens) == MOST_KEYS
        assert world.tokens.fresh(key_of(1, 0)) is None
        assert isinstance(world.tokens.fresh(key_of(1, 1)), Token)

    run(scenario)


def test_identity_with_all_its_keys_replaces_its_own_when_there_are_too_many_entries() -> None:
    async def scenario(world: World) -> None:
        await world.hold(*(key_of(1, scope) for scope in range(MOST_KEYS)))
        await world.hold(key_of(1, MOST_KEYS))
        assert len(world.tokens) == MOST_KEYS

    run(scenario, lambda: World(most=MOST_KEYS))


def test_identity_does_not_go_for_a_key_of_its_own() -> None:
    async def scenario(world: World) -> None:
        await world.hold(key_of(1), key_of(2))
        await world.hold(key_of(1, 1))
        assert isinstance(world.tokens.fresh(key_of(1)), Token)
        assert world.tokens.fresh(key_of(2)) is None

    run(scenario, lambda: World(most=2))


def test_least_recently_used_identity_goes_when_there_are_too_many_entries() -> None:
    async def scenario(world: World) -> None:
        await world.hold(*(key_of(identity) for identity in range(10)))
        assert isinstance(world.tokens.fresh(key_of(0)), Token)
        await world.hold(key_of(10))
        assert len(world.tokens) == len(world.timers) == 10
        assert world.tokens.fresh(key_of(1)) is None
        assert isinstance(world.tokens.fresh(key_of(0)), Token)

    run(scenario, lambda: World(most=10))


def test_identities_without_a_token_go_before_those_with_one() -> None:
    """Requests for nonsense drop no token."""

    async def scenario(world: World) -> None:
        await world.hold(*(key_of(identity) for identity in range(9)))
        world.entra.result = REFUSED
        for identity in range(100, 150):
            await outcomes(*await world.ask(key_of(identity)))
        assert len(world.tokens) == 10
        assert all(world.tokens.fresh(key_of(identity)) for identity in range(9))

    run(scenario, lambda: World(most=10))


def test_of_identities_without_a_token_the_least_recently_used_goes() -> None:
    async def scenario(world: World) -> None:
        world.entra.result = REFUSED
        for identity in (1, 2, 1, 3, 1):
            await outcomes(*await world.ask(key_of(identity)))
        assert [call.key for call in world.entra.begun] == [key_of(1), key_of(2), key_of(3)]

    run(scenario, lambda: World(most=2))


def test_key_is_refused_when_every_identity_is_waited_for() -> None:
    async def scenario(world: World) -> None:
        tasks = await world.ask(*(key_of(identity) for identity in range(10)))
        (refused,) = await outcomes(*await world.ask(key_of(10)))
        assert isinstance(refused, Refused)
        assert refused.status == 503
        assert refused.retry_after is not None
        assert len(world.tokens) == 10
        (joined,) = await world.ask(key_of(3))
        await world.answer_all()
        assert all(isinstance(outcome, Token) for outcome in await outcomes(*tasks, joined))

    run(scenario, lambda: World(most=10))


def test_renewals_of_many_identities_leave_room_for_callers() -> None:
    """They are started as those before them end."""

    async def scenario(world: World) -> None:
        await world.hold(*(key_of(identity) for identity in range(20)))
        await world.pass_time(DAY / 2)
        assert len(world.entra.begun) == 4
        (task,) = await world.ask(key_of(99))
        world.entra.calls.pop().done(granted(expires_in=DAY))
        assert isinstance(await task, Token)
        await world.answer_all()
        assert sorted(call.key for call in world.entra.begun) == sorted(map(key_of, [*range(20), 99]))

    run(scenario)


def test_exchanges_that_callers_wait_for_do_not_postpone_renewals() -> None:
    async def scenario(world: World) -> None:
        await world.hold(key_of(1))
        await world.ask(*(key_of(identity) for identity in range(2, 7)))
        await world.pass_time(DAY / 2)
        assert world.entra.begun[-1].key == key_of(1)

    run(scenario)


def test_identity_that_goes_is_not_renewed() -> None:
    """Its renewal was postponed."""

    async def scenario(world: World) -> None:
        await world.hold(*(key_of(identity) for identity in range(10)))
        await world.pass_time(DAY / 2)
        await world.ask(key_of(99))
        await world.answer_all()
        assert len(world.entra.begun) == len(world.timers) == 10

    run(scenario, lambda: World(most=10))


def test_caller_that_needs_a_postponed_renewal_does_not_wait_for_others() -> None:
    async def scenario(world: World) -> None:
        await world.hold(*(key_of(identity) for identity in range(20)))
        await world.pass_time(DAY / 2)
        await world.pass_time(DAY / 2 - 100)
        renewed = {call.key for call in world.entra.begun}
        needed = next(key for key in map(key_of, range(20)) if key not in renewed)
        (task,) = await world.ask(needed)
        assert [call.key for call in world.entra.begun].count(needed) == 1
        world.entra.calls.pop().done(granted())
        assert isinstance(await task, Token)
        await world.answer_all()

    run(scenario)


async def let_renewals_hang(world: World) -> None:
    """Begin as many renewals as there may be."""
    await world.hold(*(key_of(identity) for identity in range(100, 110)))
    await world.pass_time(DAY / 2)
    world.entra.calls.clear()
    world.entra.begun.clear()


def test_retry_that_a_caller_waits_for_is_not_postponed() -> None:
    async def scenario(world: World) -> None:
        await let_renewals_hang(world)
        (task,) = await world.ask(key_of(1), request_id=REQUEST_ID)
        await world.ask(key_of(1), request_id=OTHER_ID)
        world.entra.answer(EVENTUAL)
        await settle()
        await world.pass_time(0.2)
        assert [call.request_id for call in world.entra.begun] == [REQUEST_ID] * 2
        world.entra.answer()
        assert isinstance(await task, Token)

    run(scenario)


def test_retry_is_made_for_a_caller_that_comes_when_it_was_postponed() -> None:
    async def scenario(world: World) -> None:
        await let_renewals_hang(world)
        (task,) = await world.ask(key_of(1))
        world.entra.answer(EVENTUAL)
        await settle()
        task.cancel()
        await settle()
        await world.pass_time(0.2)
        assert len(world.entra.begun) == 1
        (task,) = await world.ask(key_of(1))
        world.entra.answer()
        assert isinstance(await task, Token)

    run(scenario)


def test_entra_gets_the_id_of_the_first_request_that_waits() -> None:
    async def scenario(world: World) -> None:
        await world.ask(key_of(1), request_id=REQUEST_ID)
        await world.ask(key_of(1), request_id=OTHER_ID)
        await world.answer_all()
        await world.ask(key_of(1), request_id=OTHER_ID)
        await world.pass_time(DAY / 2)
        assert [call.request_id for call in world.entra.begun] == [REQUEST_ID, ""], "nobody waits for the renewal"

    run(scenario)


def test_request_id_that_is_not_a_guid_is_not_sent() -> None:
    """It could make the exchange fail for everybody."""

    async def scenario(world: World) -> None:
        await world.ask(key_of(1), request_id="a\r\nb: c")
        assert [call.request_id for call in world.entra.begun] == [""]

    run(scenario)


def test_renewed_token_is_requested_from_entra() -> None:
    async def scenario(world: World) -> None:
        await world.hold(key_of(1))
        await world.pass_time(10)
        task = asyncio.create_task(world.tokens.get(key_of(1), renew=True))
        await settle()
        assert [call.key for call in world.entra.begun] == [key_of(1)]
        world.entra.answer(granted("new"))
        token = await task
        assert isinstance(token, Token)
        assert token.access_token.reveal() == "new"

    run(scenario)


ENVIRONMENT = {"AZURE_TENANT_ID": TENANT, "AZURE_FEDERATED_TOKEN_FILE": "/token"}


def test_settings_of_the_gateway_are_those_of_a_workload() -> None:
    settings = gateway_settings(None, ENVIRONMENT)
    assert (settings.tenant, settings.token_file, settings.token_proxy) == (TENANT, "/token", None)


def test_gateway_behind_a_gateway_is_refused() -> None:
    environment = ENVIRONMENT | {"AZURE_KUBERNETES_TOKEN_PROXY": "https://wisp-gateway.wisp.svc"}
    with pytest.raises(SettingError, match="AZURE_KUBERNETES_TOKEN_PROXY is set for the gateway"):
        gateway_settings(None, environment)
