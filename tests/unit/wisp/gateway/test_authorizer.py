"""Who may use an identity: reviews that are shared and remembered for seconds, with an API server by hand."""

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.fakes import CLIENT_ID, Clock, UnixClock, jwt
from tests.unit.wisp.kubernetes.callers import Callers, Pod
from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.gateway.authorizer import CONCURRENT_REVIEWS, REMEMBERED, Authorizer, AuthorizerOptions, ReviewClocks, _Memory
from wisp.gateway.types import AUDIENCE, Authorization, Authorized, Forbidden, Unauthenticated, Undecided
from wisp.kubernetes.types import ApiRequest, ApiResponse, ApiUnavailableError

OTHER_ID = "22222222-2222-4222-8222-222222222222"
TOKEN_REVIEW, ACCESS_REVIEW, READY = "tokenreviews", "subjectaccessreviews", "readyz"


class ReviewingApi:
    """An API server in the test's process. `held`: requests wait until it is set. `answers`: faults by the path's end.

    A fault is a status, or None for a broken connection.
    """

    def __init__(self, callers: Callers) -> None:
        self.callers = callers
        self.requests: list[str] = []
        self.faults: dict[str, int | None] = {}
        self.on_request: Callable[[str], None] = lambda _: None
        self.held = asyncio.Event()
        self.held.set()
        self.asked = asyncio.Event()
        self.under_way = self.most = 0

    async def request(self, request: ApiRequest, time_limit: float | None = None) -> ApiResponse:
        """Answer after a turn of the loop, or when `held` is set."""
        assert time_limit is not None
        kind = request.path.rpartition("/")[2]
        self.requests.append(kind)
        self.asked.set()
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        await self.held.wait()
        self.under_way -= 1
        self.on_request(kind)
        if kind in self.faults:
            status = self.faults[kind]
            if status is None:
                raise ApiUnavailableError("connection refused")
            return ApiResponse(status, b"{}")
        if kind == READY:
            return ApiResponse(200 if self.callers.ready else 500, b"")
        spec = json.loads(request.body)["spec"]
        answer = self.callers.review_token if kind == TOKEN_REVIEW else self.callers.review_access
        return ApiResponse(201, json.dumps({"status": answer(spec)}).encode())

    def count(self, kind: str) -> int:
        """Count requests."""
        return self.requests.count(kind)


class Bench:
    """An authorizer, its API server and its clocks."""

    def __init__(self, **options: float) -> None:
        self.clock = Clock()
        self.unix = UnixClock(self.clock)
        self.callers = Callers(self.unix)
        self.api = ReviewingApi(self.callers)
        self.observed: list[tuple[str, str]] = []
        self.authorizer = Authorizer(
            self.api,
            AuthorizerOptions(AUDIENCE, **options),
            lambda kind, result, _: self.observed.append((kind, result)),
            Log("error"),
            ReviewClocks(self.clock, self.unix),
        )

    async def ask(self, token: str, client_id: str = CLIENT_ID, source: str = "10.0.0.1") -> Authorization:
        """Authorize as the gateway does: from what is remembered, or by reviews."""
        secret = Secret(token)
        return self.authorizer.cached(secret, client_id) or await self.authorizer.authorize(secret, client_id, source)

    def granted(self, **options: float) -> tuple[Pod, str]:
        """Return a pod that may use the identity, and its token."""
        pod = self.callers.pod(granted=CLIENT_ID)
        return pod, self.callers.token(pod, **options)  # type: ignore[arg-type]  # seconds alone


def run(scenario: Callable[[Bench], Coroutine[Any, Any, None]], **options: float) -> None:
    async def main() -> None:
        await scenario(Bench(**options))

    asyncio.run(main())


def test_granted_caller_is_authorized_by_two_reviews() -> None:
    async def scenario(bench: Bench) -> None:
        pod, token = bench.granted()
        found = await bench.ask(token)
        assert isinstance(found, Authorized)
        assert found.caller[4:8] == (pod.namespace, pod.service_account, pod.name, pod.uid)
        assert bench.api.requests == [TOKEN_REVIEW, ACCESS_REVIEW]
        assert bench.observed == [("token", "allowed"), ("access", "allowed")]

    run(scenario)


@pytest.mark.parametrize("subject", ["system:serviceaccounts", "system:serviceaccounts:shop"])
def test_groups_of_a_caller_count(subject: str) -> None:
    async def scenario(bench: Bench) -> None:
        token = bench.callers.token(bench.callers.pod("shop"))
        bench.callers.grants.add((CLIENT_ID, subject))
        assert isinstance(await bench.ask(token), Authorized)

    run(scenario)


def test_permission_is_remembered_from_when_the_first_review_was_sent() -> None:
    """However long the reviews took."""

    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        bench.api.on_request = lambda _: setattr(bench.clock, "now", bench.clock.now + 2)
        await bench.ask(token)
        bench.api.on_request = lambda _: None
        bench.clock.now += 5.9
        assert isinstance(bench.authorizer.cached(Secret(token), CLIENT_ID), Authorized)
        bench.clock.now += 0.1
        assert bench.authorizer.cached(Secret(token), CLIENT_ID) is None

    run(scenario)


def test_permission_that_is_taken_away_ends_within_ten_seconds() -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        assert isinstance(await bench.ask(token), Authorized)
        bench.callers.grants.clear()
        bench.clock.now += 10
        assert isinstance(await bench.ask(token), Forbidden)

    run(scenario)


def test_caller_is_not_remembered_for_longer_by_a_slow_access_review() -> None:
    """Its pod is deleted meanwhile."""

    async def scenario(bench: Bench) -> None:
        pod, token = bench.granted()
        assert isinstance(await bench.ask(token, OTHER_ID), Forbidden)
        bench.clock.now += 9
        bench.callers.deleted[pod.uid] = 0.0
        bench.api.on_request = lambda kind: setattr(bench.clock, "now", bench.clock.now + 4 * (kind == ACCESS_REVIEW))
        assert isinstance(await bench.ask(token), Unauthenticated)
        assert bench.api.count(TOKEN_REVIEW) == 2

    run(scenario)


def test_denial_is_remembered_for_two_seconds() -> None:
    async def scenario(bench: Bench) -> None:
        pod = bench.callers.pod()
        token = bench.callers.token(pod)
        assert isinstance(await bench.ask(token), Forbidden)
        bench.callers.grants.add((CLIENT_ID, pod.username))
        bench.clock.now += 1.9
        assert isinstance(await bench.ask(token), Forbidden)
        assert bench.api.count(ACCESS_REVIEW) == 1
        bench.clock.now += 0.1
        assert isinstance(await bench.ask(token), Authorized)

    run(scenario)


def test_token_that_is_not_valid_is_remembered_for_all_identities() -> None:
    async def scenario(bench: Bench) -> None:
        stranger = jwt(aud=AUDIENCE, exp=bench.clock.now + 2e9)
        assert isinstance(await bench.ask(stranger), Unauthenticated)
        assert isinstance(await bench.ask(stranger, OTHER_ID), Unauthenticated)
        assert bench.api.count(TOKEN_REVIEW) == 1
        bench.clock.now += 2
        assert isinstance(await bench.ask(stranger), Unauthenticated)
        assert bench.api.count(TOKEN_REVIEW) == 2
        assert bench.api.count(ACCESS_REVIEW) == 0

    run(scenario)


def test_nothing_is_remembered_for_zero_seconds() -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        for _ in range(2):
            assert isinstance(await bench.ask(token), Authorized)
            assert isinstance(await bench.ask(token, OTHER_ID), Forbidden)
        assert bench.api.count(TOKEN_REVIEW) == bench.api.count(ACCESS_REVIEW) == 4

    run(scenario, grant_seconds=0.0, denial_seconds=0.0)


def test_permission_ends_with_the_token() -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted(seconds=4.0)
        assert isinstance(await bench.ask(token), Authorized)
        bench.clock.now += 3.9
        assert isinstance(await bench.ask(token), Authorized)
        bench.clock.now += 0.1
        assert await bench.ask(token) == Unauthenticated("it expired 0 s ago")
        assert bench.api.count(TOKEN_REVIEW) == 1

    run(scenario)


def test_token_that_expires_during_its_reviews_gives_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted(seconds=4.0)

        def expire(kind: str) -> None:
            bench.clock.now += 5 * (kind == ACCESS_REVIEW)

        bench.api.on_request = expire
        assert await bench.ask(token) == Unauthenticated("it has just expired")
        assert bench.authorizer.cached(Secret(token), CLIENT_ID) is None

    run(scenario)


def test_identities_of_a_token_share_its_review() -> None:
    async def scenario(bench: Bench) -> None:
        pod, token = bench.granted()
        bench.callers.grants.add((OTHER_ID, pod.username))
        await bench.ask(token)
        bench.clock.now += 9
        assert isinstance(await bench.ask(token, OTHER_ID), Authorized)
        assert (bench.api.count(TOKEN_REVIEW), bench.api.count(ACCESS_REVIEW)) == (1, 2)
        bench.clock.now += 1
        assert bench.authorizer.cached(Secret(token), OTHER_ID) is None, "the caller's review is 10 s old"

    run(scenario)


def test_identities_that_are_requested_at_once_share_the_review() -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        first, second = await asyncio.gather(bench.ask(token), bench.ask(token, OTHER_ID))
        assert (type(first), type(second)) == (Authorized, Forbidden)
        assert (bench.api.count(TOKEN_REVIEW), bench.api.count(ACCESS_REVIEW)) == (1, 2)

    run(scenario)


def test_caller_is_known_for_as_long_as_its_review_counts() -> None:
    """Whatever it may use: its limits are looked at before the next review."""

    async def scenario(bench: Bench) -> None:
        pod, token = bench.granted()
        assert bench.authorizer.known_caller(Secret(token)) is None
        assert isinstance(await bench.ask(token, OTHER_ID), Forbidden)
        caller = bench.authorizer.known_caller(Secret(token))
        assert caller is not None
        assert caller.pod_uid == pod.uid
        bench.clock.now += 10
        assert bench.authorizer.known_caller(Secret(token)) is None

    run(scenario)


def test_all_who_wait_for_the_same_share_its_reviews() -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        found = await asyncio.gather(*(bench.ask(token, source=f"10.0.0.{number}") for number in range(100)))
        assert {type(one) for one in found} == {Authorized}
        assert len(bench.api.requests) == 2

    run(scenario)


@pytest.mark.parametrize("leaving", [[0], [1, 2], [0, 1, 2]], ids=["the first", "the others", "all"])
def test_caller_that_leaves_takes_no_review_from_others(leaving: list[int]) -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        bench.api.held.clear()
        waiting = [asyncio.create_task(bench.ask(token)) for _ in range(3)]
        await bench.api.asked.wait()
        for number in leaving:
            waiting[number].cancel()
        await asyncio.sleep(0)
        bench.api.held.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in found] == [number in leaving for number in range(3)]
        assert isinstance(await bench.ask(token), Authorized)
        assert len(bench.api.requests) == 2

    run(scenario)


@pytest.mark.parametrize("status", [None, 500, 503, 429, 401, 403, 404, 200], ids=str)
@pytest.mark.parametrize("kind", [TOKEN_REVIEW, ACCESS_REVIEW])
def test_nobody_is_authorized_without_both_answers(kind: str, status: int | None) -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        bench.api.faults[kind] = status
        found = await bench.ask(token)
        assert isinstance(found, Undecided)
        assert found.retry_after == 2
        assert bench.authorizer.cached(Secret(token), CLIENT_ID) is None
        assert bench.observed[-1] == ("token" if kind == TOKEN_REVIEW else "access", "unavailable")
        bench.api.faults.clear()
        assert isinstance(await bench.ask(token), Authorized), "and that it could not be decided is not remembered"

    run(scenario)


def test_what_is_remembered_is_used_while_the_api_server_is_away_but_for_no_longer() -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        await bench.ask(token)
        bench.api.faults = {TOKEN_REVIEW: None, ACCESS_REVIEW: None}
        bench.clock.now += 9
        assert isinstance(await bench.ask(token), Authorized)
        bench.clock.now += 1
        assert isinstance(await bench.ask(token), Undecided)

    run(scenario)


def test_clients_are_told_to_wait_longer_the_longer_the_api_server_is_away() -> None:
    async def scenario(bench: Bench) -> None:
        _, token = bench.granted()
        bench.api.faults[TOKEN_REVIEW] = None
        waits = []
        for _ in range(5):
            found = await bench.ask(token)
            assert isinstance(found, Undecided)
            waits.append(found.retry_after)
            bench.clock.now += 4
        assert waits == [2, 4, 8, 12, 15]
        bench.api.faults.clear()
        assert isinstance(await bench.ask(token), Authorized)
        bench.api.faults[ACCESS_REVIEW] = None
        found = await bench.ask(token, OTHER_ID)
        assert isinstance(found, Undecided)
        assert found.retry_after == 2

    run(scenario)


@pytest.mark.parametrize("ready", [500, 503, 429, None], ids=str)
@pytest.mark.parametrize("kind", ["caller", "access"])
def test_denial_by_an_api_server_that_is_not_ready_does_not_count(kind: str, ready: int | None) -> None:
    """While it starts, it does not know all pods, roles and bindings."""

    async def scenario(bench: Bench) -> None:
        pod, token = bench.granted()
        bench.api.faults[READY] = ready
        if kind == "caller":
            bench.callers.deleted[pod.uid] = 0.0
        else:
            bench.callers.grants.clear()
        assert isinstance(await bench.ask(token), Undecided)
        bench.callers.deleted.clear()
        bench.callers.grants.add((CLIENT_ID, pod.username))
        assert isinstance(await bench.ask(token), Authorized)

    run(scenario)


@pytest.mark.parametrize("ready", [200, 401, 403, 404], ids=str)
def test_denial_counts_if_the_api_server_does_not_say_whether_it_is_ready(ready: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.api.faults[READY] = ready
        assert isinstance(await bench.ask(bench.callers.token(bench.callers.pod())), Forbidden)

    run(scenario)


def test_api_server_is_asked_once_a_second_whether_it_is_ready() -> None:
    async def scenario(bench: Bench) -> None:
        tokens = [bench.callers.token(bench.callers.pod()) for _ in range(5)]
        assert {type(found) for found in await asyncio.gather(*map(bench.ask, tokens))} == {Forbidden}
        assert isinstance(await bench.ask(bench.callers.token(bench.callers.pod())), Forbidden)
        assert bench.api.count(READY) == 1
        bench.clock.now += 1
        assert isinstance(await bench.ask(bench.callers.token(bench.callers.pod())), Forbidden)
        assert bench.api.count(READY) == 2

    run(scenario)


def test_token_that_cannot_be_valid_causes_no_review() -> None:
    async def scenario(bench: Bench) -> None:
        pod = bench.callers.pod(granted=CLIENT_ID)
        for token in ("x", bench.callers.token(pod, audience="another"), bench.callers.token(pod, seconds=-1.0)):
            assert isinstance(await bench.ask(token), Unauthenticated)
        assert not bench.api.requests

    run(scenario)


def test_source_with_many_tokens_does_not_delay_another() -> None:
    async def scenario(bench: Bench) -> None:
        bench.api.held.clear()
        tokens = [bench.callers.token(bench.callers.pod(granted=CLIENT_ID)) for _ in range(400)]
        crowd = [asyncio.create_task(bench.ask(token, source="10.9.9.9")) for token in tokens]
        await asyncio.sleep(0)
        order: list[str] = []
        _, token = bench.granted()
        other = asyncio.create_task(bench.ask(token, source="10.0.0.1"))
        for task in (*crowd, other):
            task.add_done_callback(lambda task: order.append("other" if task is other else "crowd"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        bench.api.held.set()
        assert isinstance(await other, Authorized)
        assert order.count("crowd") <= CONCURRENT_REVIEWS
        await asyncio.gather(*crowd)
        assert bench.api.most <= CONCURRENT_REVIEWS

    run(scenario)


def test_more_callers_than_can_wait_are_undecided() -> None:
    async def scenario(bench: Bench) -> None:
        bench.api.held.clear()
        tokens = [bench.callers.token(bench.callers.pod(granted=CLIENT_ID)) for _ in range(1000)]
        waiting = [asyncio.create_task(bench.ask(token)) for token in tokens]
        await asyncio.sleep(0.01)
        bench.api.held.set()
        found = await asyncio.gather(*waiting)
        kinds = {type(one) for one in found}
        assert kinds == {Authorized, Undecided}
        refused = next(one for one in found if isinstance(one, Undecided))
        assert refused == Undecided("too many callers are being checked", 2)

    run(scenario)


def test_no_more_than_a_number_of_answers_is_remembered() -> None:
    memory: _Memory[int, str] = _Memory()
    for number in range(REMEMBERED + 100):
        memory.put(number, "x", until=100.0, now=0.0)
    assert len(memory) == REMEMBERED
    assert memory.get(99, 0.0) is None
    assert memory.get(100, 0.0) == "x"


def test_answers_that_are_over_are_forgotten() -> None:
    memory: _Memory[int, str] = _Memory()
    for number in range(1000):
        memory.put(number, "x", until=number + 10.0, now=float(number))
    assert len(memory) <= 11
    assert memory.get(999, 1008.9) == "x"
    assert memory.get(999, 1009.0) is None


def test_tokens_are_not_kept() -> None:
    async def scenario(bench: Bench) -> None:
        tokens = [bench.granted()[1], bench.callers.token(bench.callers.pod()), jwt(aud=AUDIENCE, exp=4e9)]
        for token in tokens:
            await bench.ask(token)
        await asyncio.sleep(0)
        seen, reachable = set(), [bench.authorizer.__dict__ | {"_api": None, "_observe": None, "_unix": None}]
        while reachable:
            found = reachable.pop()
            if id(found) in seen or isinstance(found, type):
                continue
            seen.add(id(found))
            assert not isinstance(found, Secret)
            assert not isinstance(found, str | bytes) or found not in tokens
            if isinstance(found, dict | list | tuple | set | _Memory):
                reachable += gc.get_referents(found)

    run(scenario)


@pytest.mark.parametrize("kind", [TOKEN_REVIEW, ACCESS_REVIEW])
def test_gateway_that_may_not_review_says_so(kind: str) -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.authorizer.probe() is None
        bench.api.faults[kind] = 403
        assert await bench.authorizer.probe() == "it answers with HTTP 403 HTTP 403"

    run(scenario)
