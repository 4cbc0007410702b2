"""Suites one after the other: their order, their times, and the summary at the end."""

import io
from pathlib import Path

import pytest

from tests.support.suites import Suite, report, run, run_all

MAKEFILE = """
good:
	@echo 'first'; echo '==== 3 passed, 1 skipped in 1.25s ===='
bad:
	@echo '1 failed, 2 passed in 0.50s'; exit 1
"""


@pytest.fixture(name="makefile")
def _makefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with a Makefile of two suites."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("makefile")
@pytest.mark.parametrize(
    "target, status, summary",
    [("good", 0, "==== 3 passed, 1 skipped in 1.25s ===="), ("bad", 2, "1 failed, 2 passed in 0.50s")],
)
def test_a_suite_is_timed_and_its_output_is_passed_on(target: str, status: int, summary: str) -> None:
    """The clock is read before and after; the summary is pytest's own line."""
    out, clock = io.StringIO(), iter([100.0, 175.0])
    assert run(target, out, lambda: next(clock)) == Suite(target, status, 75.0, summary)
    assert out.getvalue().startswith(f"--- make {target}\n")
    assert summary in out.getvalue()


def test_the_first_failure_ends_the_run() -> None:
    """What comes after it is not run."""
    statuses = {"a": 0, "b": 1, "c": 0}
    suites = run_all(list(statuses), lambda target: Suite(target, statuses[target], 1.0, ""))
    assert [each.target for each in suites] == ["a", "b"]


def test_the_report_has_every_time_and_ends_with_the_last_summary() -> None:
    """A suite that failed is marked."""
    text = report([Suite("check", 0, 57.4, "9 passed in 50.00s"), Suite("test", 2, 1234.5, "= 1 failed in 9.00s =")])
    assert text == (
        "\n"
        "make check           57 s\n"
        "make test         1,234 s  FAILED\n"
        "total             1,292 s\n"
        "= 1 failed in 9.00s =\n"
    )
