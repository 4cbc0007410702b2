"""The sidecar's exchange through a gateway process: what it sends, the gateway heeds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.authority import refuses
from tests.support.waiting import wait_until
from tests.unit.wisp.gateway.process import (
    CLIENT_ID,
    PATH,
    SCOPE,
    SERVICE,
    TENANT,
    RunningGateway,
    gateway,
    surroundings,
)
from wisp.entra.exchange.endpoint import TokenEndpoint
from wisp.entra.messages import Granted, Refused, TokenKey
from wisp.entra.route import TokenProxy
from wisp.entra.settings import ExchangeSettings

pytestmark = pytest.mark.system

KEY = TokenKey(CLIENT_ID, SCOPE.removesuffix("/.default"))
AUTHORITY = "https://login.invalid/"
"""Nothing is sent to it."""


@pytest.fixture(name="running")
def _running(tmp_path: Path) -> Iterator[RunningGateway]:
    with surroundings(tmp_path) as (api, entra), gateway(api, entra, tmp_path) as running:
        running.await_ready()
        yield running


@pytest.fixture
def endpoint(running: RunningGateway, tmp_path: Path) -> Iterator[TokenEndpoint]:
    """Return the gateway as the sidecar of a pod with a grant sees it."""
    callers = running.callers
    token = tmp_path / "service-account-token"
    token.write_text(callers.token(callers.pod(granted=CLIENT_ID)))
    proxy = TokenProxy(f"https://127.0.0.1:{running.port}/", SERVICE, str(tmp_path / "ca.crt"))
    endpoint = TokenEndpoint(ExchangeSettings(CLIENT_ID, TENANT, str(token), AUTHORITY, None, proxy))
    yield endpoint
    endpoint.close()


def test_sidecars_of_one_identity_share_its_token(endpoint: TokenEndpoint, running: RunningGateway) -> None:
    tokens = [endpoint.exchange(KEY) for _ in range(3)]
    assert all(isinstance(token, Granted) for token in tokens)
    assert len({token.access_token for token in tokens if isinstance(token, Granted)}) == 1
    (post,) = running.entra.posts
    assert post.line == f"POST {PATH} HTTP/1.1"
    assert post.form["scope"] == [SCOPE]


def test_token_that_replaces_a_rejected_one_is_from_entra(endpoint: TokenEndpoint, running: RunningGateway) -> None:
    """And is the one that others then get. The gateway asks Entra once a second at most."""
    assert isinstance(endpoint.exchange(KEY), Granted)

    def is_replaced() -> bool:
        assert isinstance(endpoint.exchange(KEY._replace(newer=True)), Granted)
        return len(running.entra.posts) == 2

    wait_until(is_replaced, "the gateway asks Entra again", pause=0.3)
    assert isinstance(endpoint.exchange(KEY), Granted)
    assert len(running.entra.posts) == 2


def test_capabilities_reach_entra(endpoint: TokenEndpoint, running: RunningGateway) -> None:
    assert isinstance(endpoint.exchange(KEY._replace(capabilities="CP1")), Granted)
    assert running.entra.posts[0].form["claims"] == ['{"access_token": {"xms_cc": {"values": ["CP1"]}}}']


def test_refusal_of_entra_reaches_the_sidecar(endpoint: TokenEndpoint, running: RunningGateway) -> None:
    """With its code, by which the sidecar decides."""
    running.entra.behaviour = refuses(401, 700016)
    refused = endpoint.exchange(KEY)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.cause, refused.aadsts) == (401, "refused", 700016)
