"""The command's side of `wisp run`: logs, namespaces, exec."""

import os
import signal
import stat
from pathlib import Path

import pytest

from wisp.base.errors import PrivilegeError, WispError
from wisp_local.run.client import enter_namespaces, exec_command, names_at_start, open_log


@pytest.mark.parametrize(
    "command, status, why",
    [
        pytest.param("no-such-command", 127, "command not found", id="not found"),
        pytest.param("/etc/passwd/x", 126, "not a directory", id="no folder"),
        pytest.param("/etc/passwd", 126, "permission denied", id="not executable"),
        pytest.param("", 127, "'' cannot be run (not a valid name)", id="no name"),
    ],
)
def test_command_that_cannot_be_run_has_the_exit_status_of_a_shell(command: str, status: int, why: str) -> None:
    with pytest.raises(WispError) as error:
        exec_command([command], {"PATH": "/bin:/usr/bin"})
    assert error.value.exit_status == status
    assert why in str(error.value)


def test_signal_handlers_are_restored_after_a_failed_exec() -> None:
    """With its default handler, SIGPIPE would end this process at a later write to a closed connection."""
    before = signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGXFSZ)
    with pytest.raises(WispError):
        exec_command(["no-such-command"], {"PATH": "/bin:/usr/bin"})
    assert (signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGXFSZ)) == before
    assert before[0] is signal.SIG_IGN


def test_descriptor_that_is_not_a_namespace_is_reported() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(PrivilegeError, match=r"cannot be entered \(setns: Invalid argument\)"):
            enter_namespaces([descriptor])
    finally:
        os.close(descriptor)


def test_without_namespaces_nothing_is_entered() -> None:
    enter_namespaces([])


def test_variables_set_after_the_start_are_not_among_the_original_ones() -> None:
    os.environ["WISP_SET_SINCE"] = "x"
    try:
        names = names_at_start()
    finally:
        del os.environ["WISP_SET_SINCE"]
    assert names is not None
    assert "PATH" in names
    assert "WISP_SET_SINCE" not in names


def test_logs_are_private_and_the_last_ten_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run.db.logs"
    folder.mkdir()
    for number in range(12):
        (folder / f"2020010{number // 10}-00000{number % 10}-1.log").touch()
    log = open_log(tmp_path / "run.db")
    os.write(log.descriptor, b"a line\n")
    os.close(log.descriptor)
    assert log.path is not None
    assert (log.path.parent, log.path.read_text(encoding="utf-8")) == (folder, "a line\n")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert len(list(folder.iterdir())) == 10


@pytest.mark.parametrize("state", [None, Path("/proc/run.db")], ids=["none", "not writable"])
def test_log_without_a_folder_can_be_written_and_read(state: Path | None) -> None:
    log = open_log(state)
    os.write(log.descriptor, b"a line\n")
    assert (log.text(), log.path) == ("a line\n", None)
    os.close(log.descriptor)
