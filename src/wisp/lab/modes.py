"""In which ways the lab can be set up, which to try in what order, and what each one loses; touches no machine."""

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import assert_never

from wisp.errors import PrivilegeError, WispError


class Mode(enum.Enum):
    """How the pod is made."""

    ROOT = "root"
    USERNS = "userns"
    LOOPBACK = "loopback"


@dataclass(frozen=True)
class Attempt:
    """One way to try: `several_users` when sidecar and application are to be users of their own."""

    mode: Mode
    several_users: bool


@dataclass(frozen=True)
class Lost:
    """An attempt that failed, and why: one line, the exact words of whatever refused."""

    attempt: Attempt
    why: str


_ROOT = Attempt(Mode.ROOT, several_users=True)
_SUBORDINATE = Attempt(Mode.USERNS, several_users=True)
_SINGLE = Attempt(Mode.USERNS, several_users=False)
_LOOPBACK = Attempt(Mode.LOOPBACK, several_users=False)

_PACKAGES = {"unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2"}
TOOLS = tuple(_PACKAGES)
"""What a pod is made with; nft or iptables is the redirect's own business."""


def attempts(wanted: Mode | None, *, root: bool) -> tuple[Attempt, ...]:
    """Say what to try, best first; `wanted` None is every way that there is. Raises PrivilegeError without root."""
    match wanted:
        case None:
            return (*((_ROOT,) if root else ()), _SUBORDINATE, _SINGLE, _LOOPBACK)
        case Mode.ROOT if not root:
            raise PrivilegeError("--mode root needs root", remedy="run it with sudo, or with --mode userns")
        case Mode.ROOT:
            return (_ROOT,)
        case Mode.USERNS:
            return (_SUBORDINATE, _SINGLE)
        case Mode.LOOPBACK:
            return (_LOOPBACK,)
        case _:
            assert_never(wanted)


def missing_tool(attempt: Attempt, present: Collection[str]) -> str | None:
    """Say which tool the attempt lacks when only `present` are on PATH, or None."""
    if attempt.mode is Mode.LOOPBACK:
        return None
    for tool in TOOLS:
        if tool not in present:
            return f"{tool} is not installed (apt-get install {_PACKAGES[tool]})"
    return None


def describe(attempt: Attempt, lost: tuple[Lost, ...]) -> str:
    """Say in one line what the lab is made of, what was lost against the better way, and why."""
    because = f" ({lost[-1].why})" if lost else ""
    match attempt.mode:
        case Mode.ROOT:
            return "namespaces of its own, made by root: the sidecar is uid 1501, the application another user"
        case Mode.USERNS if attempt.several_users:
            return f"a user namespace: the sidecar is uid 1501 in it, the application another user{because}"
        case Mode.USERNS:
            return f"a user namespace with one user: sidecar and application are not told apart{because}"
        case Mode.LOOPBACK:
            return (
                "plain loopback: no pod, no redirect, one user; "
                f"clients are told 127.0.0.1 instead of finding 169.254.169.254{because}"
            )
        case _:
            assert_never(attempt.mode)


def impossible(lost: tuple[Lost, ...]) -> WispError:
    """Make the error for when every attempt is lost."""
    tried = " and ".join(dict.fromkeys(each.attempt.mode.value for each in lost))
    why = lost[-1].why
    others = "" if lost[-1].attempt.mode is Mode.LOOPBACK else " or try --mode auto, which finds another way;"
    return PrivilegeError(f"mode {tried} is not possible here ({why})", remedy=f"change that,{others} see docs/demo.md")
