"""Memory of the webhook after 100,000 reviews."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.compiled import compile_sidecar
from bench.processes import Memory
from bench.webhook.__main__ import after_reviews
from bench.webhook.processes import Server, Surroundings, surroundings, webhook

pytestmark = [pytest.mark.long, pytest.mark.needs("wrk")]

MOST_RESIDENT = 45.0
"""In MB of 1,000,000 bytes."""
MOST_GROWTH = 4.0


@pytest.fixture(name="environment", scope="module")
def _environment() -> Iterator[Surroundings]:
    compile_sidecar()
    with tempfile.TemporaryDirectory() as folder, surroundings(Path(folder)) as environment:
        yield environment


@pytest.fixture(name="server", scope="module")
def _server(environment: Surroundings) -> Iterator[Server]:
    with webhook(environment) as server:
        yield server


def test_memory_is_bounded_after_a_hundred_thousand_reviews(server: Server) -> None:
    """At most 45 MB are resident after 100,000 and after 200,000 reviews; the second half adds less than 4 MB."""
    after_reviews(server, 100_000)
    once = Memory.of(server.pid)
    assert once.resident <= MOST_RESIDENT, once
    after_reviews(server, 100_000)
    twice = Memory.of(server.pid)
    assert twice.anonymous - once.anonymous < MOST_GROWTH, (once, twice)
    assert twice.resident <= MOST_RESIDENT, twice
