"""In which ways the lab can be set up, which to try in what order, and what each one loses; touches no machine."""

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import assert_never

from wisp.base.errors import PrivilegeError, WispError


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
    """An attempt that failed: why, in the words of whatever refused it, and what makes it possible."""

    attempt: Attempt
    why: str
    hint: str


_ROOT = Attempt(Mode.ROOT, several_users=True)
_SUBORDINATE = Attempt(Mode.USERNS, several_users=True)
_SINGLE = Attempt(Mode.USERNS, several_users=False)
_LOOPBACK = Attempt(Mode.LOOPBACK, several_users=False)

_PACKAGES = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
}
TOOLS = tuple(_PACKAGES)
"""What a pod is made with."""
_ALTERNATIVES = {"nft": "iptables"}
"""A tool that does as well."""

_MORE_HELP = "see docs/tutorials/demo.md"
_REMEDIES = (
    ("uid_map: Operation not permitted", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    ("No space left on device", "sysctl -w user.max_user_namespaces=10000"),
    ("no line matching user", 'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$USER"'),
    ("newuidmap", "apt-get install uidmap"),
)
"""What a refusal has in it (unshare(1), Linux), and the command that ends it."""


def attempts(wanted: Mode | None, *, root: bool) -> tuple[Attempt, ...]:
    """Say what to try, best first; `wanted` None is every way that there is. Raises PrivilegeError without root."""
    match wanted:
        case None:
            return (*((_ROOT,) if root else ()), _SUBORDINATE, _SINGLE, _LOOPBACK)
        case Mode.ROOT if not root:
            raise PrivilegeError("--mode root needs root", hint="run it with sudo, or with --mode userns")
        case Mode.ROOT:
            return (_ROOT,)
        case Mode.USERNS:
            return (_SUBORDINATE, _SINGLE)
        case Mode.LOOPBACK:
            return (_LOOPBACK,)
        case _:
            assert_never(wanted)


def without_tools(attempt: Attempt, present: Collection[str]) -> Lost | None:
    """Return the attempt as lost when tools that it needs are not among those `present` on PATH."""
    if attempt.mode is Mode.LOOPBACK:
        return None
    missing = [tool for tool in TOOLS if tool not in present and _ALTERNATIVES.get(tool) not in present]
    if not missing:
        return None
    packages = " ".join(dict.fromkeys(_PACKAGES[tool] for tool in missing))
    return Lost(attempt, f"not installed: {', '.join(missing)}", f"apt-get install {packages}")


def refused(attempt: Attempt, why: str) -> Lost:
    """Return the attempt as lost because of what the system or a tool said."""
    return Lost(attempt, why, next((hint for words, hint in _REMEDIES if words in why), _MORE_HELP))


def describe(attempt: Attempt, lost: tuple[Lost, ...]) -> list[str]:
    """Say in a few lines which mode it is, and, if a better one failed, what this one lacks, why, and the remedy."""
    lines = [f"Mode {attempt.mode.value}: {_made_of(attempt)}."]
    if attempt.mode is Mode.LOOPBACK:
        lines.append(f"  lost:    {_LOST_ON_LOOPBACK}")
    if lost:
        last = lost[-1]
        better = next(each for each in lost if each.hint == last.hint)
        lines.append(f"  because: {last.why}")
        lines.append(f"  to get mode {better.attempt.mode.value}: {better.hint}")
    return lines


_LOST_ON_LOOPBACK = (
    "the pod and the redirect. Clients are told 127.0.0.1 instead of finding 169.254.169.254, "
    "and sidecar and application are one user"
)


def _made_of(attempt: Attempt) -> str:
    match attempt.mode:
        case Mode.ROOT:
            return "namespaces of its own, made by root: the sidecar is uid 1501, the application another user"
        case Mode.USERNS if attempt.several_users:
            return "a user namespace: the sidecar is uid 1501 in it, the application another user"
        case Mode.USERNS:
            return "a user namespace with one user: sidecar and application are not told apart"
        case Mode.LOOPBACK:
            return "processes on plain loopback"
        case _:
            assert_never(attempt.mode)


def impossible(lost: tuple[Lost, ...]) -> WispError:
    """Make the error for when every attempt is lost."""
    tried = " and ".join(dict.fromkeys(each.attempt.mode.value for each in lost))
    last = lost[-1]
    others = "" if last.attempt.mode is Mode.LOOPBACK else ", or try --mode auto, which finds another way"
    help_ = "" if last.hint == _MORE_HELP else f"; {_MORE_HELP}"
    return PrivilegeError(f"mode {tried} is not possible here ({last.why})", hint=f"{last.hint}{others}{help_}")
