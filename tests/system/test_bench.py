"""The benchmark: a real sidecar answers every dialect, and the performance page lists them all."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.dialects import besides, dialects
from bench.load import measure
from bench.processes import Pod, pod
from bench.report import table
from bench.runtime import events, hook_time, run_time
from tests.support.paths import ROOT

pytestmark = pytest.mark.system

EVERY = 11


@pytest.fixture(name="surroundings", scope="module")
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    with pod(tmp_path_factory.mktemp("pod")) as new_pod:
        yield new_pod


@pytest.mark.long
@pytest.mark.needs("wrk")
def test_every_dialect_is_answered(surroundings: Pod) -> None:
    """`measure` raises an error unless the answer is 200, or the rejection that the row measures."""
    rows = dialects(surroundings)
    with besides(surroundings) as servers:
        rates = measure(servers, rounds=1, seconds=1, rows=rows)
    assert len(rows) == len({row.name for row in rows}) == EVERY
    assert set(rates.seen) == {(row.name, name) for row in rows for name in ("bare", "wisp")}


def test_performance_page_has_a_row_for_every_dialect(surroundings: Pod) -> None:
    page = (ROOT / "docs/explanation/performance.md").read_text(encoding="utf-8")
    for row in dialects(surroundings):
        assert re.search(rf"^\| {re.escape(row.name)} +\| +[\d,]+ \| +[\d,]+ \| +\d+\.\d\d \|$", page, re.MULTILINE)


def test_container_times_are_read_from_ctr_events(tmp_path: Path) -> None:
    """Times of other containers are left out, and those of programs run in a container count separately."""
    log = tmp_path / "events"
    lines = (
        '00.25 +0000 UTC k8s.io /tasks/start {"container_id":"a","pid":1}',
        '00.5 +0000 UTC k8s.io /tasks/exec-started {"container_id":"a","exec_id":"hook","pid":2}',
        '00.75 +0000 UTC k8s.io /tasks/exit {"container_id":"a","id":"hook","pid":2}',
        '01.000000001 +0000 UTC k8s.io /images/create {"name":"x"}',
        '02 +0000 UTC k8s.io /tasks/start {"container_id":"b","pid":3}',
        '04.25 +0000 UTC k8s.io /tasks/exit {"container_id":"a","id":"a","pid":1}',
    )
    log.write_text("".join(f"2026-11-30 10:00:{line}\n" for line in lines) + "an unfinished line")
    found = events(log)
    assert (run_time(found, ["a"]), hook_time(found, ["a"])) == (4.0, 0.5)
    assert (run_time(found, ["b"]), hook_time(found, ["b"])) == (None, None)


def test_table_has_aligned_columns() -> None:
    """Numbers are right-aligned."""
    assert table(["a", "figure"], [["row", "1"]]) == "| a   | figure |\n| --- | -----: |\n| row |      1 |"
