"""What a cluster pays for the webhook: memory after 100,000 reviews, and its pace beside a bare TLS server."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.compiled import compile_sidecar
from bench.load import wrk
from bench.processes import Memory
from bench.webhook.__main__ import after_reviews
from bench.webhook.load import ROWS, Row, measure
from bench.webhook.processes import Server, Surroundings, ask, bare, surroundings, webhook
from bench.webhook.review import review

pytestmark = pytest.mark.long

MOST_RESIDENT = 45.0
"""In MB of 1,000,000 bytes."""
MOST_GROWTH = 4.0
LEAST_RATIO = 0.4
"""Of the bare server's pace, for a Deployment's pods."""
TRIES = 5
"""Noise only ever adds: the best of so many runs is nearest the truth."""


@pytest.fixture(name="around", scope="module")
def _around() -> Iterator[Surroundings]:
    wrk()
    compile_sidecar()
    with tempfile.TemporaryDirectory() as folder, surroundings(Path(folder)) as around:
        yield around


@pytest.fixture(name="server", scope="module")
def _server(around: Surroundings) -> Iterator[Server]:
    with webhook(around) as server:
        yield server


def test_memory_after_a_hundred_thousand_reviews(server: Server) -> None:
    """At most 45 MB resident, all different ones included; a hundred thousand more add next to nothing."""
    after_reviews(server, 100_000)
    once = Memory.of(server.pid)
    assert once.resident <= MOST_RESIDENT, once
    after_reviews(server, 100_000)
    twice = Memory.of(server.pid)
    assert twice.anonymous - once.anonymous < MOST_GROWTH, (once, twice)
    assert twice.resident <= MOST_RESIDENT, twice


@pytest.mark.parametrize("row", ROWS[:2], ids=lambda row: row.name)
def test_pace(around: Surroundings, server: Server, row: Row, tmp_path: Path) -> None:
    """At least 0.4 of the bare server, in the same run."""
    status, _, size = ask(server, review(), around.trusted())
    assert status == 200
    with bare(size, tmp_path) as yardstick:
        ratios = []
        for _ in range(TRIES):
            found = measure({"bare": yardstick, "wisp": server}, rounds=3, seconds=1, rows=[row])
            ratios.append(found.ratio(row))
            if ratios[-1] >= LEAST_RATIO:
                return
    raise AssertionError(ratios)
