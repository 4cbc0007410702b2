"""Token requests to a gateway process, with an API server and an Entra that the test controls."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.wisp.gateway.process import CLIENT_ID, RunningGateway, form, gateway, surroundings

pytestmark = pytest.mark.system


@pytest.fixture(name="running")
def _running(tmp_path: Path) -> Iterator[RunningGateway]:
    with surroundings(tmp_path) as (api, entra), gateway(api, entra, tmp_path) as running:
        running.await_ready()
        yield running


def test_granted_caller_gets_the_identitys_token(running: RunningGateway) -> None:
    pod = running.callers.pod(granted=CLIENT_ID)
    answer = running.post(form(running.callers.token(pod)))
    assert answer.status == 200, answer
    assert answer.document["token_type"] == "Bearer"
    assert running.entra.posts[0].form["client_id"] == [CLIENT_ID]
