"""Programs run to their end, keep running with a log, or outlive their command."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE, wait_until
from wisp.base.errors import ToolError
from wisp_local.sandbox.processes import (
    ComponentError,
    ProcessContext,
    ProcessIdentity,
    base_environment,
    find_process,
    run,
    running_component,
    start_time_from_proc,
    start_time_from_ps,
    tail,
)

HERE = ProcessContext((), {"PATH": os.environ["PATH"], "LETTER": "a"})


# Tells its child's process id; both outlive SIGTERM.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_program_gets_only_the_environment_of_its_context() -> None:
    place = HERE.with_variables({"LETTER": "b", "OTHER": "c"})
    done = run(place, sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")
    assert done.status == 0
    seen = json.loads(done.output.reveal())
    assert {name: seen.get(name) for name in ("LETTER", "OTHER", "HOME")} == {"LETTER": "b", "OTHER": "c", "HOME": None}


def test_output_of_a_program_is_masked_in_its_repr() -> None:
    assert "eyJ" not in repr(run(HERE, "echo", "eyJhbGciOiJSUzI1NiJ9"))


def test_program_that_does_not_exist_is_reported() -> None:
    with pytest.raises(ToolError, match="no-such-program cannot be started"):
        run(HERE, "no-such-program")


def test_program_that_takes_too_long_is_stopped_and_reported() -> None:
    with pytest.raises(ToolError, match=r"sleep 60 did not end within 0\.01 s"):
        run(HERE, "sleep", "60", timeout=0.01)


@pytest.mark.parametrize(
    "text, shown",
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
def test_tail_of_a_log_is_short_and_has_no_tokens(text: str, shown: tuple[str, ...]) -> None:
    assert tail(text) == shown


def test_component_runs_until_the_block_is_left(tmp_path: Path) -> None:
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with running_component("the clock", HERE, tmp_path / "log", sys.executable, "-c", script) as clock:
        process = int(clock.first_line(PATIENCE))
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_component_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        running_component("the clock", HERE, log, sys.executable, "-c", "import sys; sys.exit('no spring')") as clock,
        pytest.raises(ComponentError, match="the clock did not start") as failed,
    ):
        clock.first_line(PATIENCE)
    assert failed.value.log == ("the clock: no spring",)


def test_component_that_prints_nothing_is_not_waited_for_indefinitely(tmp_path: Path) -> None:
    with running_component("the clock", HERE, tmp_path / "log", "sleep", "60") as clock, pytest.raises(ComponentError):
        clock.first_line(0.01)


def test_component_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
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


def test_base_environment_leaves_out_the_users_settings() -> None:
    theirs = dict.fromkeys(
        ("HTTP_PROXY", "https_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PYTHONPATH", "AZURE_CLIENT_ID", "HOME"),
        "x",
    )
    made = base_environment({**theirs, "PATH": "/opt/bin", "LD_LIBRARY_PATH": "/opt/lib"})
    assert theirs.keys().isdisjoint(made)
    assert made["PATH"].startswith("/opt/bin:/usr/local/sbin:")
    assert made["LD_LIBRARY_PATH"] == "/opt/lib"


@pytest.mark.parametrize("environment", [{}, {"PATH": ""}], ids=["unset", "empty"])
def test_base_environment_without_a_path_has_the_folders_of_the_system(environment: dict[str, str]) -> None:
    assert base_environment(environment)["PATH"].startswith("/usr/local/sbin:")


_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"


@pytest.fixture(name="other")
def _other() -> Iterator[subprocess.Popen[bytes]]:
    """Run some process that does not end at SIGTERM."""
    with subprocess.Popen([sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
        started.kill()


def _of(started: subprocess.Popen[bytes]) -> ProcessIdentity:
    found = find_process(started.pid)
    assert found is not None
    return found


def test_process_is_recognized_after_reading_its_file(other: subprocess.Popen[bytes], tmp_path: Path) -> None:
    process = _of(other)
    process.write(tmp_path / "process")
    assert ProcessIdentity.read(tmp_path / "process") == process
    assert process.is_running()


def test_process_that_ignores_sigterm_is_killed(other: subprocess.Popen[bytes]) -> None:
    process = _of(other)
    assert not process.stop(signal.SIGTERM, 0.1)
    assert process.stop(signal.SIGKILL, 10)
    assert not process.is_running()
    assert other.wait() == -signal.SIGKILL


def test_another_process_with_the_same_id_is_not_signalled(other: subprocess.Popen[bytes]) -> None:
    process = _of(other)
    earlier = ProcessIdentity(process.pid, process.started + "0")
    assert not earlier.is_running()
    assert earlier.stop(signal.SIGKILL, 1)
    assert other.poll() is None
    assert process.is_running()


def test_process_of_an_earlier_boot_is_not_recognized(other: subprocess.Popen[bytes]) -> None:
    boot, _, ticks = _of(other).started.partition(" ")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert not ProcessIdentity(other.pid, f"{boot[::-1]} {ticks}").is_running()


def test_process_that_has_ended_is_not_found() -> None:
    with subprocess.Popen(["true"]) as started:
        started.wait()
    assert find_process(started.pid) is None
    assert ProcessIdentity(started.pid, "any").stop(signal.SIGTERM, 0)


@pytest.mark.needs("ps")
def test_ps_recognizes_a_process_and_its_end_like_proc(other: subprocess.Popen[bytes]) -> None:
    started = start_time_from_ps(other.pid)
    assert started
    assert started == start_time_from_ps(other.pid)
    assert start_time_from_proc(other.pid) is not None
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert start_time_from_ps(other.pid) is None
    assert start_time_from_proc(other.pid) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": "x", "started": "y"}', "\udcff"])
def test_invalid_process_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "process").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert ProcessIdentity.read(tmp_path / "process") is None


def test_report_of_a_component_error_starts_with_its_log() -> None:
    error = ComponentError("the clock did not start", hint="wind it up", log=("the clock: no spring",))
    assert error.report() == "  the clock: no spring\nerror: the clock did not start\nhint: wind it up\n"


def test_log_is_appended_to_and_private(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with running_component("the clock", HERE, tmp_path / "log", "sh", "-c", f"echo {text} >&2; echo") as clock:
            clock.first_line(PATIENCE)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\ntwo\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_tied_program_ends_with_its_parent(tmp_path: Path) -> None:
    """It runs as a module, with its arguments."""
    (tmp_path / "clock.py").write_text("import sys, time; print(*sys.argv[1:], flush=True); time.sleep(60)")
    starting = "import subprocess, sys; from wisp_local.sandbox.processes import tied\n"
    starting += "print(subprocess.Popen(tied('clock', 'a', 'b')).pid, flush=True); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", starting]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == b"a b\n"
        parent.kill()
    wait_until(lambda: not _runs(child), "the end of its child")
