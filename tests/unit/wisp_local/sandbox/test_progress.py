"""Progress is one line rewritten in place on a terminal, and complete lines at intervals elsewhere."""

import io

import pytest

from tests.support.fakes import Clock
from wisp_local.sandbox.progress import Progress, duration

ERASE = "\r\x1b[K"


@pytest.mark.parametrize(
    "seconds, expected",
    [(0, "0 s"), (42.9, "42 s"), (60, "1 min 0 s"), (222, "3 min 42 s"), (3720, "1 h 2 min")],
    ids=str,
)
def test_duration_is_readable(seconds: float, expected: str) -> None:
    """Seconds matter below an hour only."""
    assert duration(seconds) == expected


def test_log_has_a_complete_line_every_20_seconds() -> None:
    """An update in between is not shown."""
    clock, stream = Clock(0), io.StringIO()
    progress = Progress(stream, clock)
    with progress.operation("Helm"):
        for clock.now in (0, 10, 19, 20, 30, 41):
            progress.update("Helm", f"{progress.elapsed('Helm')}")
    assert stream.getvalue() == "  Helm: 20 s\n  Helm: 41 s\n"


def test_terminal_line_is_rewritten_every_second_and_erased_at_the_end() -> None:
    """Other lines are printed above it."""
    clock, stream = Clock(0), io.StringIO()
    progress = Progress(stream, clock, lambda: 80)
    with progress.operation("Helm"):
        for clock.now in (0, 0.5, 1, 1.5, 2):
            progress.update("Helm", progress.elapsed("Helm"))
        progress.line("done")
    assert stream.getvalue() == f"{ERASE}  Helm: 1 s{ERASE}  Helm: 2 s{ERASE}done\n{ERASE}"


def test_terminal_line_fits_into_the_terminal() -> None:
    """A line that wraps could not be rewritten."""
    clock, stream = Clock(0), io.StringIO()
    progress = Progress(stream, clock, lambda: 12)
    with progress.operation("Helm"):
        clock.now = 1
        progress.update("Helm", "compiling packages")
        assert stream.getvalue() == f"{ERASE}  Helm: com"


def test_terminal_line_shows_all_running_operations() -> None:
    """Two clients are built at a time."""
    clock, stream = Clock(0), io.StringIO()
    progress = Progress(stream, clock, lambda: 80)
    with progress.operation("go"), progress.operation("rust"):
        clock.now = 1
        progress.update("go", "a")
        progress.update("rust", "b")
    assert stream.getvalue() == f"{ERASE}  go: a{ERASE}  go: a; rust: b{ERASE}  go: a{ERASE}"


def test_elapsed_time_is_that_of_the_whole_operation() -> None:
    """A product of several steps is measured from its start."""
    clock = Clock(0)
    progress = Progress(io.StringIO(), clock)
    with progress.operation("Helm"):
        clock.now = 60
        with progress.operation("Helm"):
            assert progress.elapsed("Helm") == "1 min 0 s"
        assert progress.elapsed("Helm") == "1 min 0 s"
