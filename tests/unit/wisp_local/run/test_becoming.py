"""Becoming the command, as far as it fails: what succeeds does not come back."""

import os
import signal

import pytest

from wisp.base.errors import PrivilegeError, WispError
from wisp_local.run.client import enter_namespaces, exec_command, names_at_start


@pytest.mark.parametrize(
    "command, status, why",
    [
        pytest.param("no-such-command", 127, "command not found", id="not found"),
        pytest.param("/etc/passwd/x", 126, "not a directory", id="no folder"),
        pytest.param("/etc/passwd", 126, "permission denied", id="not executable"),
        pytest.param("", 127, "'' cannot be run (not a valid name)", id="no name"),
    ],
)
def test_what_cannot_be_run(command: str, status: int, why: str) -> None:
    """The status is a shell's, and the reason is given."""
    with pytest.raises(WispError) as error:
        exec_command([command], {"PATH": "/bin:/usr/bin"})
    assert error.value.exit_status == status
    assert why in str(error.value)


def test_a_process_that_could_not_become_it_is_as_it_was() -> None:
    """Left at its default, SIGPIPE would end this process at a later write to a peer that has gone."""
    before = signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGXFSZ)
    with pytest.raises(WispError):
        exec_command(["no-such-command"], {"PATH": "/bin:/usr/bin"})
    assert (signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGXFSZ)) == before
    assert before[0] is signal.SIG_IGN


def test_what_is_no_namespace() -> None:
    """The kernel's word is in the error."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(PrivilegeError, match=r"cannot be entered \(setns: Invalid argument\)"):
            enter_namespaces([descriptor])
    finally:
        os.close(descriptor)


def test_nothing_to_enter() -> None:
    """Then nothing happens."""
    enter_namespaces([])


def test_what_it_was_started_with() -> None:
    """What was set since is not among it."""
    os.environ["WISP_SET_SINCE"] = "x"
    try:
        names = names_at_start()
    finally:
        del os.environ["WISP_SET_SINCE"]
    assert names is not None
    assert "PATH" in names
    assert "WISP_SET_SINCE" not in names
