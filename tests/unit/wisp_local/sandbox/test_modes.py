"""Modes are tried best first, and described with what they lack."""

from collections.abc import Collection

import pytest

from wisp.base.errors import PrivilegeError
from wisp_local.sandbox.modes import (
    TOOLS,
    Attempt,
    FailedAttempt,
    Mode,
    attempts,
    describe,
    failed_attempt,
    impossible_error,
    missing_tools,
)

ROOT = Attempt(Mode.ROOT, several_users=True)


SUBORDINATE = Attempt(Mode.USERNS, several_users=True)


SINGLE = Attempt(Mode.USERNS, several_users=False)


LOOPBACK = Attempt(Mode.LOOPBACK, several_users=False)


LOST = (
    "the pod and the redirect. Clients ask 127.0.0.1 instead of 169.254.169.254, "
    "and sidecar and application are one user"
)


REFUSED = failed_attempt(SINGLE, "unshare: unshare failed: Operation not permitted")


@pytest.mark.parametrize(
    "forced, root, expected",
    [
        pytest.param(None, True, (ROOT, SUBORDINATE, SINGLE, LOOPBACK), id="auto-as-root"),
        pytest.param(None, False, (SUBORDINATE, SINGLE, LOOPBACK), id="auto-as-user"),
        pytest.param(Mode.ROOT, True, (ROOT,), id="root"),
        pytest.param(Mode.USERNS, True, (SUBORDINATE, SINGLE), id="userns-as-root"),
        pytest.param(Mode.USERNS, False, (SUBORDINATE, SINGLE), id="userns-as-user"),
        pytest.param(Mode.LOOPBACK, False, (LOOPBACK,), id="loopback"),
    ],
)
def test_best_mode_is_tried_first(forced: Mode | None, root: bool, expected: tuple[Attempt, ...]) -> None:  # noqa: FBT001
    assert attempts(forced, root=root) == expected


def test_root_mode_needs_root() -> None:
    with pytest.raises(PrivilegeError, match="--mode root needs root: run it with sudo"):
        attempts(Mode.ROOT, root=False)


@pytest.mark.parametrize(
    "missing, why, command",
    [
        (["ip"], "not installed: ip", "apt-get install iproute2"),
        (["nft"], "not installed: nft", "apt-get install nftables"),
        (["ip", "nft"], "not installed: ip, nft", "apt-get install iproute2 nftables"),
        (["unshare", "nsenter", "setpriv"], "not installed: unshare, nsenter, setpriv", "apt-get install util-linux"),
    ],
)
def test_one_command_installs_all_missing_tools(missing: list[str], why: str, command: str) -> None:
    assert missing_tools(ROOT, set(TOOLS) - set(missing)) == FailedAttempt(ROOT, why, command)


@pytest.mark.parametrize("attempt", [ROOT, SUBORDINATE, SINGLE], ids=str)
@pytest.mark.parametrize("present", [TOOLS, {*TOOLS, "iptables"} - {"nft"}], ids=["nft", "iptables"])
def test_iptables_can_replace_nft(attempt: Attempt, present: Collection[str]) -> None:
    assert missing_tools(attempt, present) is None


def test_loopback_mode_needs_no_tools() -> None:
    assert missing_tools(LOOPBACK, ()) is None


@pytest.mark.parametrize(
    "why, hint",
    [
        ("unshare: unshare failed: No space left on device", "sysctl -w user.max_user_namespaces=10000"),
        (
            "unshare: write failed /proc/self/uid_map: Operation not permitted",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("unshare: failed to execute newuidmap: No such file", "apt-get install uidmap"),
        ("unshare: no line matching user demo in /etc/subuid", "usermod --add-subuids "),
        ("something new", "see docs/tutorials/demo.md"),
    ],
)
def test_known_reason_has_a_command_as_hint(why: str, hint: str) -> None:
    lost = failed_attempt(SINGLE, why)
    assert lost.reason == why
    assert lost.hint.startswith(hint)


def test_the_best_mode_is_described_in_one_line() -> None:
    (line,) = describe(ROOT, ())
    assert line.startswith("Mode root: ")


def test_loopback_is_described_with_what_it_lacks_and_the_command_for_a_better_mode() -> None:
    lines = describe(LOOPBACK, (FailedAttempt(ROOT, "not installed: nft", "apt-get install nftables"),))
    assert lines == [
        "Mode loopback: processes on plain loopback.",
        f"  lost:    {LOST}",
        "  because: not installed: nft",
        "  to get mode root: apt-get install nftables",
    ]


def test_forced_loopback_is_described_without_a_better_mode() -> None:
    assert [line.split(":")[0] for line in describe(LOOPBACK, ())] == ["Mode loopback", "  lost"]


def test_description_has_the_reason_of_the_last_failed_attempt() -> None:
    lost = (
        failed_attempt(ROOT, "no veth"),
        failed_attempt(SUBORDINATE, "unshare: no line matching user demo in /etc/subuid"),
    )
    text = "\n".join(describe(SINGLE, lost))
    assert "not told apart" in text
    assert "because: unshare: no line matching user demo" in text
    assert "to get mode userns: usermod --add-subuids" in text
    assert "no veth" not in text


def test_error_of_an_impossible_mode_suggests_auto() -> None:
    error = impossible_error((failed_attempt(SUBORDINATE, "x"), REFUSED))
    assert str(error) == (
        "mode userns is not possible here (unshare: unshare failed: Operation not permitted): "
        "see docs/tutorials/demo.md, or try --mode auto, which finds another way"
    )
    assert error.exit_status == 3


def test_error_of_missing_tools_has_the_command_to_install_them() -> None:
    lost = missing_tools(ROOT, set(TOOLS) - {"nft"})
    assert lost is not None
    assert str(impossible_error((lost,))) == (
        "mode root is not possible here (not installed: nft): "
        "apt-get install nftables, or try --mode auto, which finds another way; see docs/tutorials/demo.md"
    )


def test_error_of_an_impossible_loopback_suggests_no_other_mode() -> None:
    assert "--mode" not in impossible_error((failed_attempt(LOOPBACK, "disk full"),)).hint
