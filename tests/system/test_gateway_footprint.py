"""Memory of the gateway after 100,000 grants."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.compiled import compile_sidecar
from bench.gateway.__main__ import after_grants, load_rows, server_of, without_limits
from bench.processes import Memory
from bench.webhook.load import Row
from bench.webhook.processes import Server
from tests.unit.wisp.gateway.process import CLIENT_ID, form, surroundings

pytestmark = [pytest.mark.long, pytest.mark.needs("wrk")]

MOST_RESIDENT = 50.0
"""In MB of 1,000,000 bytes."""
MOST_GROWTH = 4.0


@pytest.fixture(name="loaded", scope="module")
def _loaded() -> Iterator[tuple[Server, Row]]:
    """Give a gateway, and the requests of a caller that may use an identity."""
    compile_sidecar()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        api, entra = stack.enter_context(surroundings(Path(folder)))
        callers = api.world.callers
        running = stack.enter_context(without_limits(api, entra, Path(folder)))
        body = form(callers.token(callers.pod(granted=CLIENT_ID)))
        yield server_of(running), load_rows(body)[1]


def test_memory_is_bounded_after_a_hundred_thousand_grants(loaded: tuple[Server, Row]) -> None:
    """At most 50 MB are resident after 100,000 and after 200,000 grants; the second half adds less than 4 MB."""
    server, row = loaded
    after_grants(server, row, 100_000)
    once = Memory.of(server.pid)
    assert once.resident <= MOST_RESIDENT, once
    after_grants(server, row, 100_000)
    twice = Memory.of(server.pid)
    assert twice.anonymous - once.anonymous < MOST_GROWTH, (once, twice)
    assert twice.resident <= MOST_RESIDENT, twice
