"""Processes that outlive their command: the one that was meant, and no other, is found and ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wisp_local.sandbox.processes import ProcessIdentity, find_process, start_time_from_proc, start_time_from_ps

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


def test_a_process_is_known_again(other: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """By its file, too."""
    process = _of(other)
    process.write(tmp_path / "process")
    assert ProcessIdentity.read(tmp_path / "process") == process
    assert process.is_running()


def test_it_is_ended_kindly_and_then_not(other: subprocess.Popen[bytes]) -> None:
    """It says whether the process has ended in time; a zombie has."""
    process = _of(other)
    assert not process.stop(signal.SIGTERM, 0.1)
    assert process.stop(signal.SIGKILL, 10)
    assert not process.is_running()
    assert other.wait() == -signal.SIGKILL


def test_another_process_with_its_number_is_left_alone(other: subprocess.Popen[bytes]) -> None:
    """The number alone proves nothing."""
    process = _of(other)
    earlier = ProcessIdentity(process.pid, process.started + "0")
    assert not earlier.is_running()
    assert earlier.stop(signal.SIGKILL, 1)
    assert other.poll() is None
    assert process.is_running()


def test_after_a_start_of_the_machine_no_process_is_the_same(other: subprocess.Popen[bytes]) -> None:
    """The same number at the same tick of another start is another process."""
    boot, _, ticks = _of(other).started.partition(" ")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert not ProcessIdentity(other.pid, f"{boot[::-1]} {ticks}").is_running()


def test_a_process_that_is_not_there() -> None:
    """There is nothing to end."""
    with subprocess.Popen(["true"]) as started:
        started.wait()
    assert find_process(started.pid) is None
    assert ProcessIdentity(started.pid, "any").stop(signal.SIGTERM, 0)


@pytest.mark.needs("ps")
def test_ps_tells_the_same_where_there_is_no_proc(other: subprocess.Popen[bytes]) -> None:
    """It knows a process again, and a zombie for one that has ended."""
    said = start_time_from_ps(other.pid)
    assert said
    assert said == start_time_from_ps(other.pid)
    assert start_time_from_proc(other.pid) is not None
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert start_time_from_ps(other.pid) is None
    assert start_time_from_proc(other.pid) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": "x", "started": "y"}', "\udcff"])
def test_a_file_that_says_nothing_is_no_process(tmp_path: Path, text: str) -> None:
    """Whatever is in it."""
    (tmp_path / "process").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert ProcessIdentity.read(tmp_path / "process") is None
