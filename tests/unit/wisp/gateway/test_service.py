"""The steps of a token request, in order, with everything around them made by hand."""

import asyncio
import inspect
import json
import os
import time
import weakref
from collections.abc import Callable

import pytest

from tests.support.fakes import granted
from tests.unit.wisp.gateway.process import CLIENT_ID, PATH, TENANT, form
from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.entra.freshness import Token, token_of
from wisp.entra.messages import Refused, TokenKey
from wisp.gateway.audit import AuditLog
from wisp.gateway.limits import CallerLimits
from wisp.gateway.metrics import GatewayMetrics
from wisp.gateway.request import Rules
from wisp.gateway.service import Records, Steps, TokenRequests
from wisp.gateway.types import Authorization, Authorized, Caller, Forbidden, Unauthenticated, Undecided
from wisp.http.messages import Reject, Request, Response

ID = "aaaaaaaa-0000-4000-8000-000000000001"
CALLER = Caller("system:serviceaccount:shop:web", "u", (), (), "shop", "web", "web-1", "u-1", "node-1")
TOKEN = token_of(granted(), now=time.monotonic(), unix=time.time(), spread=0.5)
REFUSED = Refused(400, "unauthorized_client", "AADSTS700016: No.", "refused", 700016)


class Authorizer:
    """Decides as the test says, from memory or after a wait. `error` is raised instead."""

    def __init__(self, decision: Authorization, *, remembers: bool) -> None:
        self.decision = decision
        self.remembers = remembers
        self.asked = 0
        self.held = asyncio.Event()
        self.held.set()
        self.error: Exception | None = None
        self.forgets = False
        """Whether a grant is no longer remembered."""

    def cached(self, _assertion: Secret, _client_id: str) -> Authorization | None:
        """Return the decision if it is remembered."""
        return self.decision if self.remembers else None

    def is_granted(self, _digest: bytes, _client_id: str) -> bool:
        """Return whether it is a grant that is remembered."""
        return not self.forgets and isinstance(self.decision, Authorized)

    def known_caller(self, _assertion: Secret) -> Caller | None:
        """Return the caller after the first request."""
        return CALLER if self.asked else None

    async def authorize(self, _assertion: Secret, _client_id: str, _source: str) -> Authorization:
        """Return the decision when `held` is set."""
        self.asked += 1
        await self.held.wait()
        if self.error is not None:
            raise self.error
        return self.decision


class Tokens:
    """Has a token, or gets an outcome."""

    def __init__(self, token: Token | None, outcome: Token | Refused) -> None:
        self.token = token
        self.outcome = outcome
        self.keys: list[tuple[TokenKey, str, bool]] = []
        self.on_get: Callable[[], None] = lambda: None

    def fresh(self, _key: TokenKey) -> Token | None:
        """Return the token that it has."""
        return self.token

    async def get(self, key: TokenKey, request_id: str = "", *, renew: bool = False) -> Token | Refused:
        """Return the outcome."""
        self.keys.append((key, request_id, renew))
        await asyncio.sleep(0)
        self.on_get()
        return self.outcome


class Application:
    """The application with its surroundings."""

    def __init__(self, authorizer: Authorizer, tokens: Tokens, limits: CallerLimits | None = None) -> None:
        self.metrics = GatewayMetrics()
        self.limits = CallerLimits(rate=0, in_flight=0, total=0) if limits is None else limits
        steps = Steps(
            Rules(frozenset({TENANT})), authorizer, tokens, self.limits, lambda: None, "https://entra.example"
        )
        self._lines = os.memfd_create("audit")
        weakref.finalize(self, os.close, self._lines)
        self._audit = AuditLog(lambda _seconds, _write: None, self._lines)
        self.requests = TokenRequests(steps, Records(self.metrics, self._audit, Log("error")))

    async def answer(self, request: Request) -> Response:
        """Return the answer, at once or later."""
        answer = self.requests.answer(request)
        return answer if isinstance(answer, Response) else await answer

    def audited(self) -> list[tuple[str, str, str]]:
        """Return result, pod and correlation id of each audit line."""
        self._audit.flush()
        lines = map(json.loads, os.pread(self._lines, 1 << 16, 0).splitlines())
        return [(line["result"], line["pod"], line["correlationId"]) for line in lines]


def request(body: bytes | None = None, **headers: str) -> Request:
    fields = {"content-type": "application/x-www-form-urlencoded", **headers}
    pairs = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())
    return Request(
        b"POST",
        PATH.encode(),
        pairs,
        form("a.b.c") if body is None else body,
        http_1_0=False,
        keep_alive=True,
        source="10.0.0.1",
    )


def run(scenario: Callable[[], object]) -> None:
    async def main() -> None:
        result = scenario()
        if inspect.isawaitable(result):
            await result

    asyncio.run(main())


@pytest.mark.parametrize("remembers", [True, False], ids=["remembered", "reviewed"])
@pytest.mark.parametrize("has_token", [True, False], ids=["cached token", "exchange"])
def test_authorized_caller_gets_a_token(*, remembers: bool, has_token: bool) -> None:
    async def scenario() -> None:
        authorizer = Authorizer(Authorized(CALLER), remembers=remembers)
        tokens = Tokens(TOKEN if has_token else None, TOKEN)
        application = Application(authorizer, tokens)
        for _ in range(3):  # the second one is remembered, and the third one known
            assert (await application.answer(request())).status == 200
        assert authorizer.asked == (0 if remembers else 3)
        assert len(tokens.keys) == (0 if has_token else 3)
        assert application.metrics.requests["granted"] == 3

    run(scenario)


@pytest.mark.parametrize("remembers", [True, False], ids=["remembered", "reviewed"])
@pytest.mark.parametrize(
    "decision, status",
    [
        (Unauthenticated("it is not"), 401),
        (Forbidden(CALLER), 401),
        (Undecided("it is away", 2.0), 503),
    ],
)
def test_caller_that_is_not_authorized_gets_no_token(decision: Authorization, status: int, *, remembers: bool) -> None:
    async def scenario() -> None:
        tokens = Tokens(TOKEN, TOKEN)
        application = Application(Authorizer(decision, remembers=remembers), tokens)
        answer = await application.answer(request())
        assert answer.status == status
        assert b"access_token" not in answer.body
        assert not tokens.keys

    run(scenario)


def test_known_request_needs_its_grant_each_time() -> None:
    async def scenario() -> None:
        authorizer = Authorizer(Authorized(CALLER), remembers=True)
        application = Application(authorizer, Tokens(TOKEN, TOKEN))
        for _ in range(2):
            assert (await application.answer(request())).status == 200
        authorizer.decision = Forbidden(CALLER)
        assert (await application.answer(request())).status == 401

    run(scenario)


def test_refusal_of_entra_is_passed_on() -> None:
    async def scenario() -> None:
        application = Application(Authorizer(Authorized(CALLER), remembers=True), Tokens(None, REFUSED))
        answer = await application.answer(request())
        assert answer.status == 400
        assert b"AADSTS700016" in answer.body

    run(scenario)


def test_client_that_wants_a_newer_token_gets_one() -> None:
    async def scenario() -> None:
        tokens = Tokens(TOKEN, TOKEN)
        application = Application(Authorizer(Authorized(CALLER), remembers=True), tokens)
        identifier = "aaaaaaaa-0000-4000-8000-000000000001"
        for _ in range(2):
            await application.answer(request())
        await application.answer(request(cache_control="no-cache", client_request_id=identifier))
        key = TokenKey(CLIENT_ID, "https://management.azure.com/.default", "", TENANT)
        assert tokens.keys == [(key, identifier, True)]

    run(scenario)


@pytest.mark.parametrize("remembers", [True, False], ids=["at once", "later"])
def test_error_of_the_gateway_is_answered_without_its_text(*, remembers: bool) -> None:
    async def scenario() -> None:
        authorizer = Authorizer(Authorized(CALLER), remembers=remembers)
        tokens = Tokens(TOKEN, TOKEN)
        application = Application(authorizer, tokens, CallerLimits(rate=0, in_flight=1, total=1))
        authorizer.error = RuntimeError("a.b.c")
        if remembers:
            tokens.token = "not a token"  # type: ignore[assignment]  # the bug
        answer = await application.answer(request(client_request_id=ID))
        assert answer.status == 500
        assert ID.encode() in answer.body
        assert application.audited() == [("failed", "", ID)]
        assert b"an error in the gateway itself" in answer.body
        assert b"a.b.c" not in answer.body
        assert application.metrics.requests["failed"] == 1
        authorizer.error, tokens.token = None, TOKEN
        assert (await application.answer(request())).status == 200, "nothing of it is left"

    run(scenario)


def test_requests_beyond_the_limit_are_refused_and_leave_nothing() -> None:
    """One address gets half of the room."""

    async def scenario() -> None:
        authorizer = Authorizer(Authorized(CALLER), remembers=False)
        authorizer.held.clear()
        application = Application(authorizer, Tokens(None, TOKEN), CallerLimits(rate=0, in_flight=0, total=4))
        waiting = [asyncio.create_task(application.answer(request())) for _ in range(2)]
        await asyncio.sleep(0)
        assert (await application.answer(request())).status == 429
        authorizer.held.set()
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]
        assert (await application.answer(request())).status == 200

    run(scenario)


@pytest.mark.parametrize("remembers", [True, False], ids=["remembered", "reviewed"])
def test_caller_that_may_not_use_identities_has_the_same_limits(*, remembers: bool) -> None:
    """It could ask for one identity after another, and have the API server review each."""

    async def scenario() -> None:
        authorizer = Authorizer(Forbidden(CALLER), remembers=remembers)
        application = Application(authorizer, Tokens(None, TOKEN), CallerLimits(rate=0.001, in_flight=0, total=0))
        answers = [await application.answer(request()) for _ in range(3)]
        assert [answer.status for answer in answers] == [401, 429, 429]
        assert authorizer.asked == (0 if remembers else 1)
        assert application.metrics.requests["throttled"] == 2

    run(scenario)


def test_clients_that_leave_make_room() -> None:
    async def scenario() -> None:
        authorizer = Authorizer(Authorized(CALLER), remembers=False)
        authorizer.held.clear()
        application = Application(authorizer, Tokens(None, TOKEN), CallerLimits(rate=0, in_flight=1, total=1))
        leaving = asyncio.create_task(application.answer(request()))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        authorizer.held.set()
        assert (await application.answer(request())).status == 200
        authorizer.remembers = True
        leaving = asyncio.create_task(application.answer(request()))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert (await application.answer(request())).status == 200

    run(scenario)


def test_caller_has_a_number_of_requests_in_flight() -> None:
    async def scenario() -> None:
        application = Application(
            Authorizer(Authorized(CALLER), remembers=True),
            Tokens(None, TOKEN),
            CallerLimits(rate=0, in_flight=1, total=0),
        )
        answers = await asyncio.gather(application.answer(request()), application.answer(request()))
        assert [answer.status for answer in answers] == [200, 429]
        assert (await application.answer(request())).status == 200

    run(scenario)


def test_bytes_that_are_not_a_request_are_answered_in_entras_format() -> None:
    def scenario() -> None:
        application = Application(Authorizer(Authorized(CALLER), remembers=True), Tokens(TOKEN, TOKEN))
        answer = application.requests.rejected(Reject(413, "The body is too large"))
        assert answer.status == 413
        assert b'"error":"invalid_request"' in answer.body

    run(scenario)


def test_grant_ends_while_the_token_is_exchanged() -> None:
    """Its role binding, or the caller's token: a request that waited for Entra gets nothing more."""

    async def scenario() -> None:
        authorizer, tokens = Authorizer(Authorized(CALLER), remembers=True), Tokens(None, TOKEN)
        application = Application(authorizer, tokens)

        def end() -> None:
            authorizer.forgets, authorizer.decision = True, Forbidden(CALLER)

        tokens.on_get = end
        answer = await application.answer(request())
        assert answer.status == 401
        assert b"access_token" not in answer.body
        assert authorizer.asked == 1
        assert [result for result, *_ in application.audited()] == ["forbidden"]

    run(scenario)


def test_grant_that_is_no_longer_remembered_after_the_exchange_is_reviewed_again() -> None:
    async def scenario() -> None:
        authorizer, tokens = Authorizer(Authorized(CALLER), remembers=True), Tokens(None, TOKEN)
        application = Application(authorizer, tokens)
        authorizer.forgets = True
        assert (await application.answer(request())).status == 200
        assert authorizer.asked == 1
        assert [result for result, *_ in application.audited()] == ["granted"]

    run(scenario)


@pytest.mark.parametrize("remembers", [True, False], ids=["exchange", "review"])
def test_request_whose_connection_ends_is_recorded(*, remembers: bool) -> None:
    """It may have caused reviews and an exchange."""

    async def scenario() -> None:
        authorizer = Authorizer(Authorized(CALLER), remembers=remembers)
        authorizer.held.clear()
        application = Application(authorizer, Tokens(None, TOKEN))
        leaving = asyncio.create_task(application.answer(request(client_request_id=ID)))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert application.audited() == [("abandoned", "web-1" if remembers else "", ID)]
        assert application.metrics.requests["abandoned"] == 1

    run(scenario)


def test_token_that_cannot_be_answered_is_not_recorded_as_granted() -> None:
    async def scenario() -> None:
        broken = TOKEN._replace(expires_at=float("inf"))
        application = Application(Authorizer(Authorized(CALLER), remembers=True), Tokens(broken, broken))
        assert (await application.answer(request())).status == 500
        assert [result for result, *_ in application.audited()] == ["failed"]

    run(scenario)


def test_requests_with_claims_are_not_remembered() -> None:
    """A caller could fill the memory with them: 4 KiB of claims are 16 KiB as text."""

    async def scenario() -> None:
        application = Application(Authorizer(Authorized(CALLER), remembers=True), Tokens(TOKEN, TOKEN))
        for number in range(3):
            body = form("a.b.c", claims=json.dumps({"access_token": {"xms_cc": {"values": [f"cp{number}"]}}}))
            assert (await application.answer(request(body))).status == 200
        assert len(application.requests._repeated) == 0
        assert (await application.answer(request())).status == 200
        assert len(application.requests._repeated) == 1

    run(scenario)
