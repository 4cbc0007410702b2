"""Tokens of several identities through the real exchange process, from a real token endpoint, on an asyncio loop."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest
import uvloop

from tests.support.authority import Authority, Post, answer, grants
from tests.support.fakes import ARM, CLIENT_ID, jwt
from tests.support.waiting import PATIENCE, wait_until_async
from wisp.entra.freshness import Token
from wisp.entra.messages import Result, TokenKey
from wisp.entra.process import ExchangeProcess
from wisp.entra.settings import ExchangeSettings
from wisp.gateway.tokens import IdentityTokens, gateway_settings

pytestmark = pytest.mark.system

TENANTS = ("11111111-2222-3333-4444-555555555555", "contoso.example", "fabrikam.example")
CLAIMS = '{ "access_token":{"nbf":{"essential":true,"value":"1604106651"}, "xms_cc":{"values":["CP1"]}}}'
REQUEST_ID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
KEY = TokenKey(CLIENT_ID, f"{ARM}/.default", "", TENANTS[0])


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Return a token endpoint that grants tokens."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def settings(authority: Authority, tmp_path: Path) -> ExchangeSettings:
    """Return the settings of a gateway."""
    file = tmp_path / "token"
    file.write_text(jwt(sub="system:serviceaccount:wisp:wisp-gateway"))
    environment = {
        "AZURE_TENANT_ID": TENANTS[0],
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
        "AZURE_AUTHORITY_HOST": authority.url,
    }
    return gateway_settings(str(authority.ca_file), environment)


class Observed:
    """The exchanges that ended, by key."""

    def __init__(self) -> None:
        self.keys: list[TokenKey] = []

    def __call__(self, key: TokenKey, _result: Result, _seconds: float) -> None:
        """Record an exchange."""
        self.keys.append(key)


def run(settings: ExchangeSettings, scenario: Callable[[IdentityTokens, Observed], Awaitable[None]]) -> None:
    """Run a scenario on uvloop, as the gateway does."""

    async def whole() -> None:
        observed = Observed()
        tokens = IdentityTokens.over_process(settings, observed)
        try:
            await scenario(tokens, observed)
        finally:
            tokens.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


def test_tenant_scope_claims_and_request_id_reach_the_token_endpoint(
    settings: ExchangeSettings, authority: Authority
) -> None:
    async def scenario(tokens: IdentityTokens, observed: Observed) -> None:
        for tenant in TENANTS:
            key = KEY._replace(tenant=tenant, claims=CLAIMS if tenant == TENANTS[1] else "")
            assert isinstance(await tokens.get(key, REQUEST_ID), Token)
            assert isinstance(tokens.fresh(key), Token)
        assert [key.tenant for key in observed.keys] == list(TENANTS)

    run(settings, scenario)
    assert [post.line.split(" ")[1] for post in authority.posts] == [f"/{name}/oauth2/v2.0/token" for name in TENANTS]
    assert [post.form.get("claims") for post in authority.posts] == [None, [CLAIMS], None]
    assert {post.form["scope"][0] for post in authority.posts} == {f"{ARM}/.default"}
    assert {post.headers["client-request-id"] for post in authority.posts} == {REQUEST_ID}


def test_thousand_callers_cause_one_request_to_entra(settings: ExchangeSettings, authority: Authority) -> None:
    async def scenario(tokens: IdentityTokens, _observed: Observed) -> None:
        results = await asyncio.gather(*(tokens.get(KEY) for _ in range(1000)))
        assert all(isinstance(result, Token) for result in results)

    run(settings, scenario)
    assert len(authority.posts) == 1


def test_hanging_identity_does_not_delay_another(settings: ExchangeSettings, authority: Authority) -> None:
    ended = threading.Event()

    def behave(post: Post) -> bytes:
        if TENANTS[1] in post.line:
            ended.wait(PATIENCE)
        return grants(post)

    authority.behaviour = behave

    async def scenario(tokens: IdentityTokens, _observed: Observed) -> None:
        hanging = [
            asyncio.create_task(tokens.get(KEY._replace(tenant=TENANTS[1], resource=f"api://{number}/.default")))
            for number in range(10)
        ]
        await wait_until_async(lambda: len(authority.posts) == 2)
        for number in range(10):
            assert isinstance(await tokens.get(KEY._replace(resource=f"api://{number}/.default")), Token)
        ended.set()
        await asyncio.gather(*hanging)

    run(settings, scenario)


def test_killed_exchange_process_is_replaced(settings: ExchangeSettings, authority: Authority) -> None:
    """The caller does not notice."""
    killed = threading.Event()
    authority.behaviour = lambda post: grants(post) if killed.wait(PATIENCE) else answer(500, {})

    async def scenario(tokens: IdentityTokens, _observed: Observed) -> None:
        process = tokens._exchanger
        assert isinstance(process, ExchangeProcess)
        waiting = asyncio.create_task(tokens.get(KEY))
        await wait_until_async(lambda: authority.posts)
        os.kill(process.pid, signal.SIGKILL)
        killed.set()
        assert isinstance(await waiting, Token)

    run(settings, scenario)


def test_token_is_renewed_while_nobody_requests_it(settings: ExchangeSettings, authority: Authority) -> None:
    """By the timers of the loop."""
    short = {"token_type": "Bearer", "expires_in": 2, "access_token": jwt(aud=ARM)}
    authority.behaviour = lambda _: answer(200, short)

    async def scenario(tokens: IdentityTokens, _observed: Observed) -> None:
        assert isinstance(await tokens.get(KEY), Token)
        await wait_until_async(lambda: len(authority.posts) >= 2)

    run(settings, scenario)
