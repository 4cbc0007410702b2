"""Identities share the exchange process, and nothing else: failures, waiting requests and limits are each one's own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest

from tests.support.fakes import Clock, UnixClock, granted
from tests.support.waiting import wait_until_async
from wisp.base.errors import SettingError
from wisp.entra.freshness import Token
from wisp.entra.messages import MOST_AT_ONCE, Refused, Result, TokenKey, unavailable
from wisp.entra.tokens import Clocks
from wisp.gateway.tokens import MOST_KEYS, IdentityTokens, gateway_settings
from wisp.http.epoll_server import Timed

TENANT = "11111111-2222-3333-4444-555555555555"
REQUEST_ID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
OTHER_ID = "1f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
DAY = 86400
REFUSED = Refused(401, "invalid_client", "AADSTS700016: ...", "refused", 700016)
EVENTUAL = Refused(401, "invalid_client", "AADSTS700213: ...", "refused", 700213)


def key_of(identity: int, scope: int = 0, *, claims: str = "") -> TokenKey:
    """Return the key of a token of an identity."""
    client_id = f"00000000-0000-0000-0000-{identity:012}"
    return TokenKey(client_id, f"https://{scope}.example/.default", "", TENANT, claims)


class Call(NamedTuple):
    """An exchange under way."""

    key: TokenKey
    done: Callable[[Result], None]
    request_id: str


class Entra:
    """Exchanges that answer when the test says so, or at once with `result`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.begun: list[Call] = []
        self.result: Result | None = None
        self.is_closed = False

    def begin(self, key: TokenKey, done: Callable[[Result], None], request_id: str) -> None:
        """Record a call."""
        call = Call(key, done, request_id)
        self.begun.append(call)
        if self.result is None:
            self.calls.append(call)
        else:
            asyncio.get_running_loop().call_soon(done, self.result)

    def close(self) -> None:
        """Record the end."""
        self.is_closed = True

    def answer(self, result: Result | None = None) -> None:
        """Answer the oldest call."""
        self.calls.pop(0).done(result or granted(expires_in=DAY))


class Timers:
    """Timed work that the test does when it moves the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timed: dict[Timed, float | None] = {}

    def add_timed(self, timed: Timed) -> None:
        """Plan work."""
        self._timed[timed] = timed.due()

    def remove_timed(self, timed: Timed) -> None:
        """Forget work."""
        self._timed.pop(timed, None)

    def __len__(self) -> int:
        return len(self._timed)

    def move_to(self, moment: float) -> None:
        """Do what is planned until then."""
        while due := [(due, timed) for timed, due in self._timed.items() if due is not None and due <= moment]:
            planned, timed = min(due, key=lambda each: each[0])
            self._clock.now = max(self._clock.now, planned)
            timed.tick()
            self.add_timed(timed)
        self._clock.now = moment


class World:
    """Tokens of identities, with a clock and an Entra that the test controls."""

    def __init__(self, *, most: int = 100, longest_queued: float = 60.0) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.entra = Entra()
        clocks = Clocks(self.clock, UnixClock(self.clock), lambda: 0.0)
        self.tokens = IdentityTokens(self.entra, clocks, self.timers, most=most, longest_queued=longest_queued)

    async def ask(self, *keys: TokenKey, request_id: str = "") -> list[asyncio.Task[Token | Refused]]:
        """Begin a request for each key, and let everything run that can."""
        tasks = [asyncio.create_task(self.tokens.get(key, request_id)) for key in keys]
        await settle()
        return tasks

    async def hold(self, *keys: TokenKey, expires_in: int = DAY) -> None:
        """Put tokens into the stores."""
        self.entra.result = granted(expires_in=expires_in)
        assert all(isinstance(outcome, Token) for outcome in await outcomes(*await self.ask(*keys)))
        self.entra.result = None
        self.entra.begun.clear()

    async def pass_time(self, seconds: float) -> None:
        """Do what is due, and let everything run that can."""
        self.timers.move_to(self.clock.now + seconds)
        await settle()

    async def answer_all(self, result: Result | None = None) -> None:
        """Answer the calls under way, and those that follow."""
        while self.entra.calls:
            self.entra.answer(result)
            await settle()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def outcomes(*tasks: asyncio.Task[Token | Refused]) -> list[Token | Refused]:
    """Return what the requests got."""
    return list(await asyncio.gather(*tasks))


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
        third.cancel()  # in the same turn as the answer
        world.entra.answer()
        assert isinstance(await second, Token)
        assert first.cancelled()
        await settle()
        assert third.cancelled()

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


def test_retry_of_a_refusal_that_time_may_heal_is_not_postponed() -> None:
    """A caller waits for it."""

    async def scenario(world: World) -> None:
        (task,) = await world.ask(key_of(1), request_id=REQUEST_ID)
        world.entra.answer(EVENTUAL)
        await settle()
        await world.pass_time(0.2)
        assert [call.request_id for call in world.entra.begun] == [REQUEST_ID] * 2
        world.entra.answer()
        assert isinstance(await task, Token)

    run(scenario)


def test_entra_gets_the_id_of_the_first_request_that_waits() -> None:
    async def scenario(world: World) -> None:
        await world.ask(key_of(1), request_id=REQUEST_ID)
        await world.ask(key_of(1), request_id=OTHER_ID)
        await world.answer_all()
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
