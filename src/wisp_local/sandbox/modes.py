"""Ways to make a pod on this machine: which to try, in what order, and what each one lacks."""

import enum
from collections.abc import Collection
from dataclasses import dataclass

from wisp.base.errors import PrivilegeError, WispError


class Mode(enum.Enum):
    """How the pod is made."""

    ROOT = "root"
    USERNS = "userns"
    LOOPBACK = "loopback"


@dataclass(frozen=True)
class Attempt:
    """One way to try. With `several_users` the sidecar and the application are different users."""

    mode: Mode
    several_users: bool


@dataclass(frozen=True)
class FailedAttempt:
    """An attempt that failed: the reason, as the system or a tool reported it, and what to do about it."""

    attempt: Attempt
    reason: str
    hint: str


_DESCRIPTIONS = {
    Attempt(Mode.ROOT, several_users=True): (
        "namespaces of its own, made by root: the sidecar is uid 1501, the application another user"
    ),
    Attempt(Mode.USERNS, several_users=True): (
        "a user namespace: the sidecar is uid 1501 in it, the application another user"
    ),
    Attempt(Mode.USERNS, several_users=False): (
        "a user namespace with one user: sidecar and application are not told apart"
    ),
    Attempt(Mode.LOOPBACK, several_users=False): "processes on plain loopback",
}
"""Every way to make a pod, best first."""
_PACKAGES = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
}
TOOLS = tuple(_PACKAGES)
"""The tools that make a pod."""
ALTERNATIVES = {"nft": "iptables"}
"""Tools that can replace another."""

_DOCUMENTATION = "see docs/tutorials/demo.md"
_HINTS = (
    ("uid_map: Operation not permitted", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    ("No space left on device", "sysctl -w user.max_user_namespaces=10000"),
    ("no line matching user", 'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$USER"'),
    ("newuidmap", "apt-get install uidmap"),
)
"""Texts of the reasons (unshare(1), Linux), and the command that removes each."""
_LOOPBACK_LACKS = (
    "the pod and the redirect. Clients ask 127.0.0.1 instead of 169.254.169.254, "
    "and sidecar and application are one user"
)


def attempts(mode: Mode | None, *, root: bool) -> tuple[Attempt, ...]:
    """Return what to try, best first; without a `mode`, every way. Raise PrivilegeError if root mode lacks root."""
    if mode is Mode.ROOT and not root:
        raise PrivilegeError("--mode root needs root", hint="run it with sudo, or with --mode userns")
    modes = [known for known in Mode if root or known is not Mode.ROOT] if mode is None else [mode]
    return tuple(attempt for attempt in _DESCRIPTIONS if attempt.mode in modes)


def missing_tools(attempt: Attempt, present: Collection[str]) -> FailedAttempt | None:
    """Return the attempt as failed if tools that it needs are not among those `present` on PATH."""
    if attempt.mode is Mode.LOOPBACK:
        return None
    missing = [tool for tool in TOOLS if tool not in present and ALTERNATIVES.get(tool) not in present]
    if not missing:
        return None
    packages = " ".join(dict.fromkeys(_PACKAGES[tool] for tool in missing))
    return FailedAttempt(attempt, f"not installed: {', '.join(missing)}", f"apt-get install {packages}")


def failed_attempt(attempt: Attempt, reason: str) -> FailedAttempt:
    """Return the attempt as failed for a reason that the system or a tool reported."""
    return FailedAttempt(attempt, reason, next((hint for text, hint in _HINTS if text in reason), _DOCUMENTATION))


def describe(attempt: Attempt, failed: tuple[FailedAttempt, ...]) -> list[str]:
    """Describe the mode in a few lines and, if better ones failed, what this one lacks, the reason and the remedy."""
    lines = [f"Mode {attempt.mode.value}: {_DESCRIPTIONS[attempt]}."]
    if attempt.mode is Mode.LOOPBACK:
        lines.append(f"  lost:    {_LOOPBACK_LACKS}")
    if failed:
        last = failed[-1]
        better = next(earlier for earlier in failed if earlier.hint == last.hint)
        lines.append(f"  because: {last.reason}")
        lines.append(f"  to get mode {better.attempt.mode.value}: {better.hint}")
    return lines


def impossible_error(failed: tuple[FailedAttempt, ...]) -> WispError:
    """Return the error to raise when every attempt failed."""
    tried = " and ".join(dict.fromkeys(attempt.attempt.mode.value for attempt in failed))
    last = failed[-1]
    others = "" if last.attempt.mode is Mode.LOOPBACK else ", or try --mode auto, which finds another way"
    documentation = "" if last.hint == _DOCUMENTATION else f"; {_DOCUMENTATION}"
    return PrivilegeError(
        f"mode {tried} is not possible here ({last.reason})", hint=f"{last.hint}{others}{documentation}"
    )
