"""Which way to set the lab up, and what is said of it."""

import pytest

from wisp.errors import PrivilegeError
from wisp.lab.modes import TOOLS, Attempt, Lost, Mode, attempts, describe, impossible, missing_tool

ROOT = Attempt(Mode.ROOT, several_users=True)
SUBORDINATE = Attempt(Mode.USERNS, several_users=True)
SINGLE = Attempt(Mode.USERNS, several_users=False)
LOOPBACK = Attempt(Mode.LOOPBACK, several_users=False)
REFUSED = Lost(SINGLE, "unshare: unshare failed: Operation not permitted")


@pytest.mark.parametrize(
    "wanted, root, expected",
    [
        pytest.param(None, True, (ROOT, SUBORDINATE, SINGLE, LOOPBACK), id="auto-as-root"),
        pytest.param(None, False, (SUBORDINATE, SINGLE, LOOPBACK), id="auto-as-user"),
        pytest.param(Mode.ROOT, True, (ROOT,), id="root"),
        pytest.param(Mode.USERNS, True, (SUBORDINATE, SINGLE), id="userns-as-root"),
        pytest.param(Mode.USERNS, False, (SUBORDINATE, SINGLE), id="userns-as-user"),
        pytest.param(Mode.LOOPBACK, False, (LOOPBACK,), id="loopback"),
    ],
)
def test_the_best_way_is_tried_first(wanted: Mode | None, root: bool, expected: tuple[Attempt, ...]) -> None:  # noqa: FBT001
    """Root before user namespaces, several users before one, loopback last; a forced mode is the only one."""
    assert attempts(wanted, root=root) == expected


def test_root_cannot_be_forced_by_others() -> None:
    """--mode root as another user says what to do."""
    with pytest.raises(PrivilegeError, match="--mode root needs root: run it with sudo"):
        attempts(Mode.ROOT, root=False)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_missing_tool_is_named_with_its_package(tool: str) -> None:
    """Every tool that namespaces need is looked for."""
    complaint = missing_tool(ROOT, set(TOOLS) - {tool})
    assert complaint is not None
    assert complaint.startswith(f"{tool} is not installed (apt-get install ")


@pytest.mark.parametrize("attempt", [ROOT, SUBORDINATE, SINGLE], ids=str)
def test_nothing_is_missing_when_all_tools_are_there(attempt: Attempt) -> None:
    """With all tools there is nothing to complain of."""
    assert missing_tool(attempt, TOOLS) is None


def test_loopback_needs_no_tool() -> None:
    """Where there are no tools at all there is still loopback."""
    assert missing_tool(LOOPBACK, ()) is None


@pytest.mark.parametrize(
    "attempt, lost, expected",
    [
        pytest.param(ROOT, (), "made by root: the sidecar is uid 1501", id="root"),
        pytest.param(SUBORDINATE, (Lost(ROOT, "no veth"),), "another user (no veth)", id="subordinate-after-root"),
        pytest.param(SINGLE, (Lost(SUBORDINATE, "no line"),), "not told apart (no line)", id="single"),
        pytest.param(LOOPBACK, (REFUSED,), "(unshare: unshare failed: Operation not permitted)", id="loopback"),
        pytest.param(LOOPBACK, (), "instead of finding 169.254.169.254", id="loopback-forced"),
    ],
)
def test_what_was_lost_is_said_in_one_line(attempt: Attempt, lost: tuple[Lost, ...], expected: str) -> None:
    """The line ends with the loss and, when another way failed before, its exact words."""
    assert describe(attempt, lost).endswith(expected) or expected in describe(attempt, lost)
    assert "\n" not in describe(attempt, lost)


def test_a_forced_mode_that_is_impossible_says_so() -> None:
    """The error has the mode, the reason and another way."""
    error = impossible((Lost(SUBORDINATE, "x"), REFUSED))
    assert str(error) == (
        "mode userns is not possible here (unshare: unshare failed: Operation not permitted): "
        "change that, or try --mode auto, which finds another way; see docs/demo.md"
    )
    assert error.exit_status == 3


def test_when_not_even_loopback_works_there_is_no_other_way() -> None:
    """Nothing is suggested that has been tried."""
    assert "--mode" not in impossible((Lost(LOOPBACK, "disk full"),)).remedy
