"""Becomes the command: enters its namespaces, puts back what Python changed of this process, and executes it."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from wisp.base.errors import PrivilegeError, WispError
from wisp_local.sandbox.netns import call

_CLONE_NEWUSER = 0x10000000  # unshare(2)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # what a shell says (POSIX, 2.8.2)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def enter(namespaces: Sequence[int]) -> None:
    """Enter the namespaces of these descriptors: a network's, or a user's and a network's. Raises PrivilegeError.

    In a user's, where this process is root, it makes a further one, to be again who it was.
    """
    user, group = os.getuid(), os.getgid()
    try:
        for each in namespaces:
            call("setns", each, 0)
        if len(namespaces) > 1:
            call("unshare", _CLONE_NEWUSER)
            _map(user, group)
    except OSError as error:
        problem = f"the command's namespaces cannot be entered ({error.filename}: {error.strerror})"
        raise PrivilegeError(problem, hint="do without --intercept") from error


def _map(user: int, group: int) -> None:
    """Map the user and group that this process is outside of its new user namespace; the one outside is root."""
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny", encoding="ascii")  # without that no unprivileged gid_map
    (own / "uid_map").write_text(f"{user} 0 1", encoding="ascii")
    (own / "gid_map").write_text(f"{group} 0 1", encoding="ascii")


def become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Execute `command`, looked for on its own PATH; raises WispError with the status that a shell would give.

    A process that could not become it is as it was: still deaf to SIGPIPE, which would else end it at its next write.
    """
    before = {each: signal.signal(each, signal.SIG_DFL) for each in _IGNORED_BY_PYTHON}  # what is ignored stays so
    try:
        os.execvpe(command[0], list(command), dict(environment))  # noqa: S606 -- no shell is what is wanted
    except FileNotFoundError:
        raise _cannot(command[0], "there is no such command", _NOT_FOUND) from None
    except OSError as error:
        raise _cannot(command[0], (error.strerror or str(error)).lower(), _NOT_EXECUTABLE) from None
    except ValueError:
        raise _cannot(repr(command[0]), "that is no name", _NOT_FOUND) from None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def names_at_start() -> frozenset[str] | None:
    """Name the environment variables that this process was started with; None where that cannot be known."""
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return None
    return frozenset(os.fsdecode(each.partition(b"=")[0]) for each in block.split(b"\0"))


def _cannot(program: str, why: str, status: int) -> WispError:
    error = WispError(f"{program} cannot be run ({why})", hint="check its name, its mode and PATH")
    error.exit_status = status
    return error
