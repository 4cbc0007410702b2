"""Requests that repeat: what is remembered of them, and that a grant is looked up anew each time."""

import io
import json
import os
import time
from collections.abc import Awaitable
from typing import Any

import pytest

from tests.unit.wisp.gateway.token_requests import (
    ASSERTION,
    CLIENT_ID,
    CORRELATION_ID,
    FORM,
    RULES,
    TENANT,
    token_request,
)
from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.entra.freshness import Token
from wisp.entra.messages import Refused, TokenKey
from wisp.gateway.assertion import digest_of
from wisp.gateway.audit import AuditLog
from wisp.gateway.limits import CallerLimits
from wisp.gateway.metrics import GatewayMetrics
from wisp.gateway.repeated import REMEMBERED, RepeatedRequests, token_key
from wisp.gateway.request import read_request
from wisp.gateway.service import Records, Steps, TokenRequests
from wisp.gateway.types import Authorization, Authorized, Caller, TokenForm
from wisp.http.messages import Request, Response

CALLER = Caller("system:serviceaccount:shop:api", "uid", (), (), "shop", "api", "api-1", "pod-uid")
LINE = (b"before", b"after")


def _form(request: Request) -> TokenForm:
    form = read_request(request, RULES)
    assert isinstance(form, TokenForm)
    return form


def test_assertion_is_not_kept() -> None:
    requests, request = RepeatedRequests(), token_request()
    requests.remember(request, _form(request), CALLER, LINE)
    known = requests.find(request, dict(request.headers))
    assert known is not None
    assert known.form.assertion.reveal() == ""
    assert known.assertion_digest == digest_of(Secret(ASSERTION))
    assert known.key == token_key(_form(request))


@pytest.mark.parametrize(
    "other",
    [
        token_request({**FORM, "scope": "https://storage.azure.com/.default"}),
        token_request({**FORM, "client_assertion": f"{ASSERTION}x"}),
        token_request(target="/other/oauth2/v2.0/token"),
        token_request(method=b"PUT"),
        token_request(headers={"content-type": "text/plain"}),
        token_request()._replace(source="192.0.2.2"),
    ],
    ids=["scope", "assertion", "tenant", "method", "content type", "source"],
)
def test_request_that_differs_is_another_one(other: Request) -> None:
    requests, request = RepeatedRequests(), token_request()._replace(source="192.0.2.1")
    requests.remember(request, _form(request), CALLER, LINE)
    assert requests.find(request, dict(request.headers)) is not None
    assert requests.find(other, dict(other.headers)) is None


def test_number_of_remembered_requests_is_bounded() -> None:
    requests = RepeatedRequests()
    for number in range(REMEMBERED + 10):
        request = token_request({**FORM, "x-client-CPU": str(number)})
        requests.remember(request, _form(request), CALLER, LINE)
    assert len(requests) == REMEMBERED
    first, last = (token_request({**FORM, "x-client-CPU": str(number)}) for number in (0, REMEMBERED + 9))
    assert requests.find(first, dict(first.headers)) is None
    assert requests.find(last, dict(last.headers)) is not None


class _Authorizer:
    """Knows whether the caller may use the identity."""

    def __init__(self) -> None:
        self.granted = True

    def cached(self, assertion: Secret, client_id: str) -> Authorization | None:
        return Authorized(CALLER) if self.is_granted(digest_of(assertion), client_id) else None

    def is_granted(self, digest: bytes, client_id: str) -> bool:
        return self.granted and digest == digest_of(Secret(ASSERTION)) and client_id == CLIENT_ID

    def known_caller(self, assertion: Secret) -> Caller | None:
        raise NotImplementedError

    async def authorize(self, assertion: Secret, client_id: str, source: str) -> Authorization:
        raise NotImplementedError


class _Tokens:
    """Has a token, or none."""

    def __init__(self) -> None:
        now = time.monotonic()
        self.token: Token | None = Token(Secret("eyJ.t.s"), now + 1800, now + 3300, now + 3600, 3600.0, 0, 0)
        self.asked: list[TokenKey] = []

    def fresh(self, key: TokenKey) -> Token | None:
        self.asked.append(key)
        return self.token

    async def get(self, key: TokenKey, request_id: str = "", *, renew: bool = False) -> Token | Refused:
        raise NotImplementedError


class _Setting:
    def __init__(self, *, rate: float = 0) -> None:
        self.authorizer, self.tokens, self.metrics = _Authorizer(), _Tokens(), GatewayMetrics()
        limits = CallerLimits(rate=rate, in_flight=0, total=0)
        reading, writing = os.pipe()
        self.audit = AuditLog(lambda _seconds, _call: None, writing)
        self._written = os.fdopen(reading, "rb")
        steps = Steps(RULES, self.authorizer, self.tokens, limits, lambda: None, "https://entra.test")
        self.requests = TokenRequests(steps, Records(self.metrics, self.audit, Log("error")))

    def ask(self, **headers: str) -> Response | Awaitable[Response]:
        return self.requests.answer(token_request(headers={"client-request-id": CORRELATION_ID, **headers}))

    def audited(self) -> list[dict[str, Any]]:
        self.audit.flush()
        lines = io.BytesIO(os.read(self._written.fileno(), 65536))
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self._written.close()


@pytest.fixture(name="setting")
def _setting() -> Any:
    setting = _Setting()
    yield setting
    setting.close()


def _is_waiting(answer: Response | Awaitable[Response]) -> bool:
    if isinstance(answer, Response):
        return False
    answer.close()  # type: ignore[attr-defined]  # a coroutine
    return True


def test_repeated_request_is_answered_and_audited_like_the_first(setting: _Setting) -> None:
    first, second, third = (setting.ask() for _ in range(3))
    assert first == second == third
    assert isinstance(first, Response)
    assert first.status == 200
    lines = [{**line, "time": ""} for line in setting.audited()]
    assert lines[0] == lines[1] == lines[2]
    assert (lines[0]["pod"], lines[0]["clientId"], lines[0]["tenant"]) == ("api-1", CLIENT_ID, TENANT)
    assert lines[0]["correlationId"] == CORRELATION_ID
    assert setting.metrics.requests["granted"] == setting.metrics.token_hits == 3


def test_repeated_request_needs_a_grant_that_is_still_valid(setting: _Setting) -> None:
    setting.ask()
    setting.ask()
    setting.authorizer.granted = False
    assert _is_waiting(setting.ask())
    assert setting.metrics.requests["granted"] == 2


def test_repeated_request_waits_for_a_token_that_has_to_be_exchanged(setting: _Setting) -> None:
    setting.ask()
    setting.tokens.token = None
    assert _is_waiting(setting.ask())


def test_repeated_request_for_a_new_token_is_not_answered_from_the_cache(setting: _Setting) -> None:
    setting.ask()
    assert _is_waiting(setting.ask(**{"cache-control": "no-cache"}))


def test_repeated_requests_count_for_the_callers_rate() -> None:
    setting = _Setting(rate=1)
    answers = [setting.ask() for _ in range(4)]
    statuses = [answer.status for answer in answers if isinstance(answer, Response)]
    assert statuses == [200, 200, 429, 429]
    assert [line["result"] for line in setting.audited()] == ["granted", "granted", "throttled", "throttled"]
    setting.close()
