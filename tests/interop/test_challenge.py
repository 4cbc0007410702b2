"""What MSAL does when a resource rejects its token before it expires (continuous access evaluation), and what it gets.

It asks again and says which token was rejected only in Service Fabric's dialect, which IDENTITY_SERVER_THUMBPRINT makes
it speak; elsewhere it repeats its request, which nobody can tell from that of another process.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from urllib.parse import parse_qs

import pytest

from tests.interop.asking import Answer, ask
from tests.interop.build import Built
from tests.interop.cells import Route, Row, Sidecar
from tests.interop.routes import Site
from tests.interop.wire import parse_records
from wisp_local.sandbox.processes import ProcessContext

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]

_FABRIC = {"IDENTITY_SERVER_THUMBPRINT": "0"}
_NODE = Row("node", "msal", Route.ENVIRONMENT)
_REPEATING = [Row(client, "msal", route) for client in ("node", "python") for route in Route]
Challenge = Callable[[Row, ProcessContext, Mapping[str, str]], Answer]


@pytest.fixture(name="challenge")
def _challenge(clients: Mapping[str, Future[Built]], sites: Mapping[Route, Site]) -> Challenge:
    """Have a client get a token and ask again with a challenge."""

    def challenge(row: Row, place: ProcessContext, told: Mapping[str, str]) -> Answer:
        surroundings = sites[row.route].surroundings
        answer = ask(clients[row.client].result(), row, place, {**surroundings, **told}, "--challenged")
        assert answer.ok, answer.error
        return answer

    return challenge


@pytest.fixture(name="sidecar")
def _sidecar(sites: Mapping[Route, Site]) -> Callable[[Row], AbstractContextManager[ProcessContext]]:
    """Give a sidecar of the test's own."""
    return lambda row: sites[row.route].sidecar(Sidecar.HEALTHY)


@pytest.mark.parametrize("row", [_NODE], ids=str)
def test_msal_says_which_token_was_rejected(row: Row, challenge: Challenge, sites: Mapping[Route, Site]) -> None:
    """By its hash, and with the capability that makes resources reject tokens early."""
    with sites[row.route].recorder() as (place, log):
        answer = challenge(row, place, _FABRIC)
        first, second = (parse_qs(each.form) for each in parse_records(log.read_text(encoding="utf-8")))
    assert "token_sha256_to_refresh" not in first
    assert second["token_sha256_to_refresh"] == [answer.rejected_sha256]
    assert second["xms_cc"] == ["cp1"]


@pytest.mark.parametrize("row", [_NODE], ids=str)
def test_msal_gets_another_token_than_the_rejected_one(
    row: Row, challenge: Challenge, sidecar: Callable[[Row], AbstractContextManager[ProcessContext]]
) -> None:
    """The sidecar asks Entra again, although its token is valid for a day."""
    with sidecar(row) as place:
        answer = challenge(row, place, _FABRIC)
    assert answer.token_sha256 != answer.rejected_sha256


@pytest.mark.parametrize("row", _REPEATING, ids=str)
def test_elsewhere_msal_repeats_its_request(
    row: Row,
    challenge: Challenge,
    sites: Mapping[Route, Site],
    sidecar: Callable[[Row], AbstractContextManager[ProcessContext]],
) -> None:
    """It does not say that a token was rejected, so it gets the one that the sidecar has."""
    with sites[row.route].recorder() as (place, log):
        challenge(row, place, {})
        first, second = (parse_qs(each.form) for each in parse_records(log.read_text(encoding="utf-8")))
    assert first == second
    with sidecar(row) as place:
        answer = challenge(row, place, {})
    assert answer.token_sha256 == answer.rejected_sha256
