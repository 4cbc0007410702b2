"""Runs take place at the same time, and fail separately."""

import threading

import pytest

from tests.interop.runs import Runs
from tests.support.waiting import PATIENCE


def test_runs_take_place_at_the_same_time() -> None:
    """They wait for each other."""
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def do(run: str) -> str:
        barrier.wait()
        return run.upper()

    with Runs[str, str](do, 2) as runs:
        runs.start(["a", "b"])
        assert [runs.result("a"), runs.result("b")] == ["A", "B"]
        assert runs.results() == {"a": "A", "b": "B"}


def test_failed_run_does_not_affect_others() -> None:
    """Its result is the error."""
    with Runs[int, int](lambda run: 6 // run, 1) as runs:
        runs.start([0, 2])
        assert runs.result(2) == 3
        with pytest.raises(ZeroDivisionError):
            runs.result(0)
        assert runs.results() == {2: 3}


def test_runs_that_have_not_started_are_cancelled() -> None:
    """At the end no run is started any more."""
    begun, go = threading.Event(), threading.Event()
    done: list[int] = []

    def do(run: int) -> None:
        begun.set()
        go.wait(PATIENCE)
        done.append(run)

    with Runs[int, None](do, 1) as runs:
        runs.start([1, 2])
        begun.wait(PATIENCE)
        runs._pool.shutdown(wait=False, cancel_futures=True)
        go.set()
    assert done == [1]
    assert runs.results() == {1: None}
