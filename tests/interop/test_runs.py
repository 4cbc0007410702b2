"""Runs go on beside each other, and one that fails fails alone."""

import threading

import pytest

from tests.interop.runs import Runs
from tests.support.waiting import PATIENCE


def test_runs_wait_beside_each_other() -> None:
    """Each waits for the other, which only two at once can."""
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def do(run: str) -> str:
        barrier.wait()
        return run.upper()

    with Runs[str, str](do, 2) as runs:
        runs.begin(["a", "b"])
        assert [runs.result("a"), runs.result("b")] == ["A", "B"]
        assert runs.results() == {"a": "A", "b": "B"}


def test_a_run_that_fails() -> None:
    """Whoever wants its result has the error; the others are as they were."""
    with Runs[int, int](lambda run: 6 // run, 1) as runs:
        runs.begin([0, 2])
        assert runs.result(2) == 3
        with pytest.raises(ZeroDivisionError):
            runs.result(0)
        assert runs.results() == {2: 3}


def test_what_has_not_begun_is_given_up() -> None:
    """At the end nothing is started any more."""
    begun, go = threading.Event(), threading.Event()
    done: list[int] = []

    def do(run: int) -> None:
        begun.set()
        go.wait(PATIENCE)
        done.append(run)

    with Runs[int, None](do, 1) as runs:
        runs.begin([1, 2])
        begun.wait(PATIENCE)
        runs._pool.shutdown(wait=False, cancel_futures=True)
        go.set()
    assert done == [1]
    assert runs.results() == {1: None}
