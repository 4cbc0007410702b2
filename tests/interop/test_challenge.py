"""Requests of MSAL after a resource rejects its token before it expires (continuous access evaluation).

It asks again, and names the rejected token only in Service Fabric's dialect, which IDENTITY_SERVER_THUMBPRINT selects.
In other dialects it repeats its request, which looks like that of another process.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from urllib.parse import parse_qs

import pytest

from tests.interop.build import Built
from tests.interop.cells import Route, Row, Sidecar
from tests.interop.client_run import Answer, run_client
from tests.interop.routes import Setup
from tests.interop.wire import parse_records
from wisp_local.sandbox.processes import ProcessContext

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]

_FABRIC = {"IDENTITY_SERVER_THUMBPRINT": "0"}
_NODE = Row("node", "msal", Route.ENVIRONMENT)
_REPEATING = [Row(client, "msal", route) for client in ("node", "python") for route in Route]
Challenge = Callable[[Row, ProcessContext, Mapping[str, str]], Answer]


@pytest.fixture(name="challenge")
def _challenge(clients: Mapping[str, Future[Built]], setups: Mapping[Route, Setup]) -> Challenge:
    """Let a client get a token, and ask again with a challenge."""

    def challenge(row: Row, place: ProcessContext, variables: Mapping[str, str]) -> Answer:
        client_variables = setups[row.route].client_variables
        answer = run_client(clients[row.client].result(), row, place, {**client_variables, **variables}, "--challenged")
        assert answer.ok, answer.error
        return answer

    return challenge


@pytest.fixture(name="sidecar")
def _sidecar(setups: Mapping[Route, Setup]) -> Callable[[Row], AbstractContextManager[ProcessContext]]:
    """Give a sidecar of the test's own."""
    return lambda row: setups[row.route].sidecar(Sidecar.HEALTHY)


@pytest.mark.parametrize("row", [_NODE], ids=str)
def test_msal_names_the_rejected_token(row: Row, challenge: Challenge, setups: Mapping[Route, Setup]) -> None:
    """By its hash, and with the capability that makes resources reject tokens early."""
    with setups[row.route].recorder() as (place, log):
        answer = challenge(row, place, _FABRIC)
        first, second = (parse_qs(request.form) for request in parse_records(log.read_text(encoding="utf-8")))
    assert "token_sha256_to_refresh" not in first
    assert second["token_sha256_to_refresh"] == [answer.rejected_sha256]
    assert second["xms_cc"] == ["cp1"]


@pytest.mark.parametrize("row", [_NODE], ids=str)
def test_msal_gets_a_new_token_after_a_rejection(
    row: Row, challenge: Challenge, sidecar: Callable[[Row], AbstractContextManager[ProcessContext]]
) -> None:
    """The sidecar asks Entra again, although its token is valid for a day."""
    with sidecar(row) as place:
        answer = challenge(row, place, _FABRIC)
    assert answer.token_sha256 != answer.rejected_sha256


@pytest.mark.parametrize("row", _REPEATING, ids=str)
def test_msal_repeats_its_request_in_other_dialects(
    row: Row,
    challenge: Challenge,
    setups: Mapping[Route, Setup],
    sidecar: Callable[[Row], AbstractContextManager[ProcessContext]],
) -> None:
    """Without the rejected token in the request, it gets the cached token of the sidecar."""
    with setups[row.route].recorder() as (place, log):
        challenge(row, place, {})
        first, second = (parse_qs(request.form) for request in parse_records(log.read_text(encoding="utf-8")))
    assert first == second
    with sidecar(row) as place:
        answer = challenge(row, place, {})
    assert answer.token_sha256 == answer.rejected_sha256
