"""Programs run to their end or beside the story."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE, wait_until
from wisp.base.errors import ToolError
from wisp_local.sandbox.processes import ComponentError, ProcessContext, run, running_component, tail

HERE = ProcessContext((), {"PATH": os.environ["PATH"], "LETTER": "a"})
# Tells its child's process id; both outlive SIGTERM.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_program_sees_its_place_and_nothing_else() -> None:
    """The environment is whole: nothing of this process's own gets in."""
    place = HERE.with_variables({"LETTER": "b", "OTHER": "c"})
    done = run(place, sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")
    assert done.status == 0
    seen = json.loads(done.output.reveal())
    assert {name: seen.get(name) for name in ("LETTER", "OTHER", "HOME")} == {"LETTER": "b", "OTHER": "c", "HOME": None}


def test_what_it_printed_does_not_show_itself() -> None:
    """It may be a token."""
    assert "eyJ" not in repr(run(HERE, "echo", "eyJhbGciOiJSUzI1NiJ9"))


def test_a_program_that_is_not_there() -> None:
    """The error names it."""
    with pytest.raises(ToolError, match="no-such-program cannot be started"):
        run(HERE, "no-such-program")


def test_a_program_that_does_not_end() -> None:
    """It is ended, and the error has the limit but not the whole command."""
    with pytest.raises(ToolError, match=r"sleep 60 did not end within 0\.01 s"):
        run(HERE, "sleep", "60", timeout=0.01)


@pytest.mark.parametrize(
    "said, shown",
    [
        pytest.param("one\ntwo", ("one", "two"), id="lines"),
        pytest.param("\n".join(map(str, range(20))), tuple(map(str, range(8, 20))), id="the-last-twelve"),
        pytest.param("token eyJhbGciOiJSUzI1NiJ9.eyJhdWQi.c2ln end", ("token *** end",), id="token"),
        pytest.param('{"access_token":"eyJhbGciOiJSUzI1NiJ9', ('{"access_token":"***',), id="half-a-token"),
        pytest.param("x" * 600, ("x" * 500,), id="long-line"),
        pytest.param("x" * 4000 + "eyJhbGciOiJSUzI1NiJ9.eyJhdWQi.c2ln", ("x" * 500,), id="token-beyond-what-is-read"),
        pytest.param("x " * 240 + "eyJhbGciOiJSUzI1NiJ9." + "a" * 9000, ("x " * 240 + "***",), id="token-cut-off"),
        pytest.param("", (), id="nothing"),
    ],
)
def test_the_end_of_a_log_is_shown_without_tokens(said: str, shown: tuple[str, ...]) -> None:
    """Readable in length, and nothing in it that could be used."""
    assert tail(said) == shown


def test_a_component_is_heard_and_ended(tmp_path: Path) -> None:
    """Its first line is waited for; when the block is left it has ended."""
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with running_component("the clock", HERE, tmp_path / "log", sys.executable, "-c", script) as clock:
        process = int(clock.first_line(PATIENCE))
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_component_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    """The error has the name, the log has the reason."""
    log = tmp_path / "log"
    with (
        running_component("the clock", HERE, log, sys.executable, "-c", "import sys; sys.exit('no spring')") as clock,
        pytest.raises(ComponentError, match="the clock did not start") as failed,
    ):
        clock.first_line(PATIENCE)
    assert failed.value.log == ("the clock: no spring",)


def test_a_component_that_says_nothing_is_not_waited_for_long(tmp_path: Path) -> None:
    """Silence is a failure, too."""
    with running_component("the clock", HERE, tmp_path / "log", "sleep", "60") as clock, pytest.raises(ComponentError):
        clock.first_line(0.01)


def test_a_stubborn_component_is_killed_with_what_it_started(tmp_path: Path) -> None:
    """Whatever it does about SIGTERM, neither it nor its child is left."""
    with running_component("the clock", HERE, tmp_path / "log", sys.executable, "-c", STUBBORN, grace=0.05) as clock:
        child = int(clock.first_line(PATIENCE))
    wait_until(lambda: not _runs(child), "the end of its child")


def _runs(process: int) -> bool:
    """Tell whether a process that is not ours to wait for runs; one that nobody has buried yet does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
