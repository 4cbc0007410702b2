"""The command's side: starts the attendant, waits until it serves tokens, and executes the command."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import NoReturn

from wisp.base.errors import PrivilegeError, WispError
from wisp_local.run.messages import Failed, Impossible, Ready, Request, encode, parse_answer
from wisp_local.run.options import Authority
from wisp_local.sandbox.interpreter import in_place, this_interpreter
from wisp_local.sandbox.modes import Attempt, FailedAttempt, failed_attempt
from wisp_local.sandbox.namespaces import find_missing_tools, system_call, unshare
from wisp_local.sandbox.processes import ComponentError, ProcessContext, spawn, tail

_TIMEOUT = 60.0  # seconds; everything that the attendant waits for has a limit of its own
_LONGEST_ANSWER = 4096
_MOST_DESCRIPTORS = 2
_KEPT_LOGS = 10
_CLONE_NEWUSER = 0x10000000  # unshare(2)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # exit statuses of a shell (POSIX, 2.8.2)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True)
class Log:
    """A log open at `descriptor`. `path` is None if it is in no folder."""

    descriptor: int
    path: Path | None

    def text(self) -> str:
        """Return the content so far."""
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0).decode(errors="replace")


def open_log(state: Path | None) -> Log:
    """Open a new log next to `state`, and delete the oldest. Without a writable state, the log is in no folder."""
    if state is not None:
        with contextlib.suppress(OSError):
            folder = state.with_name(f"{state.name}.logs")
            folder.mkdir(exist_ok=True, mode=0o700)
            for old in sorted(folder.glob("*.log"))[: -_KEPT_LOGS + 1]:
                old.unlink(missing_ok=True)
            path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
            return Log(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600), path)
    with TemporaryFile() as file:
        return Log(os.dup(file.fileno()), None)


@dataclass(frozen=True)
class Service:
    """A running attendant, and descriptors of the namespaces that the command must enter, in this order."""

    ready: Ready
    namespaces: Sequence[int]


def start_attendant(authority: Authority, environment: Mapping[str, str], log: Log) -> Service:
    """Start the attendant of this process, which outlives an exec. Raise WispError if it cannot serve tokens."""
    outcome = _start(Request(authority), environment, log)
    if isinstance(outcome, Impossible):
        raise _error(f"the token service did not start ({outcome.reason})", "report it: this is a bug in wisp", log)
    return outcome


def start_attendant_in_namespaces(
    authority: Authority, attempts: Sequence[Attempt], environment: Mapping[str, str], log: Log
) -> Service | tuple[FailedAttempt, ...]:
    """Start the attendant in namespaces, made by the first of `attempts` that works, or return why none does."""
    failed: tuple[FailedAttempt, ...] = ()
    for attempt in attempts:
        failure = find_missing_tools(attempt, environment["PATH"])
        if failure is None:
            outcome = _start(Request(authority, attempt), environment, log)
            if isinstance(outcome, Service):
                return outcome
            failure = failed_attempt(attempt, outcome.reason)
        failed = (*failed, failure)
    return failed


def _start(request: Request, environment: Mapping[str, str], log: Log) -> Service | Impossible:
    with contextlib.ExitStack() as stack:
        inherited = (_above_streams(_own_pidfd(), stack), _above_streams(_standard_error(), stack))
        connection = stack.enter_context(_attendant(request, environment, log, inherited))
        answer, namespaces = _exchange(connection, request, log)
    match parse_answer(answer) if answer else Impossible(_last_line(log)):
        case Ready() as ready:
            return Service(ready, tuple(namespaces))
        case Failed(problem, hint, status):
            raise _error(problem, hint, log, status)
        case Impossible() as impossible:
            return impossible


@contextlib.contextmanager
def _attendant(
    request: Request, environment: Mapping[str, str], log: Log, descriptors: tuple[int, int]
) -> Iterator[socket.socket]:
    """Start the attendant, which forks at once so that it is not our child; return the socket to it."""
    image = in_place(this_interpreter())
    prefix = () if request.namespaces is None else unshare(request.namespaces, "--net")
    context = ProcessContext(prefix, {**environment, **image.environment}, descriptors)
    command = (image.python, "-m", "wisp_local.run.attendant", *map(str, descriptors))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        streams = {"stdin": theirs.fileno(), "stdout": subprocess.DEVNULL, "stderr": log.descriptor}
        process = spawn(context, *command, folder=Path("/"), **streams)
        theirs.close()
        ours.settimeout(_TIMEOUT)
        try:
            yield ours
        finally:
            process.wait()


def _exchange(connection: socket.socket, request: Request, log: Log) -> tuple[bytes, list[int]]:
    """Send the request; return the answer and its descriptors, or nothing if the attendant just ended."""
    try:
        connection.sendall(encode(request))
        connection.shutdown(socket.SHUT_WR)
        answer, namespaces, _, _ = socket.recv_fds(connection, _LONGEST_ANSWER, _MOST_DESCRIPTORS)
    except TimeoutError:
        raise _error("the token service is not ready", "check whether the machine is busy", log) from None
    except ConnectionError:
        return b"", []
    for descriptor in namespaces:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 -- os' signature; Python ignores recv_fds' flags
    return answer, namespaces


def _above_streams(descriptor: int, stack: contextlib.ExitStack) -> int:
    """Duplicate it above the standard streams, which may be closed here and are others in the attendant."""
    try:
        duplicate = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)
    stack.callback(os.close, duplicate)
    return duplicate


def _own_pidfd() -> int:
    try:
        return os.pidfd_open(os.getpid())
    except (AttributeError, OSError) as error:
        raise WispError("this kernel has no pidfd_open", hint="use Linux 5.3 or later") from error


def _standard_error() -> int:
    try:
        return os.dup(2)
    except OSError:  # closed
        return os.open(os.devnull, os.O_WRONLY)


def _last_line(log: Log) -> str:
    lines = [line.strip() for line in log.text().splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a message"


def _error(problem: str, hint: str, log: Log, status: int = 1) -> ComponentError:
    error = ComponentError(problem, hint=hint, log=tail(log.text()))
    error.exit_status = status
    return error


def enter_namespaces(namespaces: Sequence[int]) -> None:
    """Enter the namespaces of these descriptors: a network's, or a user's and a network's. Raise PrivilegeError.

    This process is root in the user namespace. It makes another one inside, to have its own user id again.
    """
    user, group = os.getuid(), os.getgid()
    try:
        for descriptor in namespaces:
            system_call("setns", descriptor, 0)
        if len(namespaces) > 1:
            system_call("unshare", _CLONE_NEWUSER)
            own = Path("/proc/self")
            (own / "setgroups").write_text("deny", encoding="ascii")  # required for an unprivileged gid_map
            (own / "uid_map").write_text(f"{user} 0 1", encoding="ascii")
            (own / "gid_map").write_text(f"{group} 0 1", encoding="ascii")
    except OSError as error:
        problem = f"the command's namespaces cannot be entered ({error.filename}: {error.strerror})"
        raise PrivilegeError(problem, hint="run it without --intercept") from error


def exec_command(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Execute `command`, found on its own PATH. Raise WispError with the exit status of a shell.

    After an error this process ignores SIGPIPE again, which would otherwise end it at its next write.
    """
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in _IGNORED_BY_PYTHON}
    try:
        os.execvpe(command[0], list(command), dict(environment))  # noqa: S606 -- no shell is what is wanted
    except FileNotFoundError:
        raise _cannot_run(command[0], "command not found", _NOT_FOUND) from None
    except OSError as error:
        raise _cannot_run(command[0], (error.strerror or str(error)).lower(), _NOT_EXECUTABLE) from None
    except ValueError:
        raise _cannot_run(repr(command[0]), "not a valid name", _NOT_FOUND) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _cannot_run(program: str, reason: str, status: int) -> WispError:
    error = WispError(f"{program} cannot be run ({reason})", hint="check its name, its mode and PATH")
    error.exit_status = status
    return error


def names_at_start() -> frozenset[str] | None:
    """Return the names of the environment variables that this process was started with; None if /proc is missing."""
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return None
    return frozenset(os.fsdecode(entry.partition(b"=")[0]) for entry in block.split(b"\0"))
