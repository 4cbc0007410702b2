"""Calls the attendant: starts it, tells it what is wanted, and waits until it serves."""

import contextlib
import fcntl
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wisp.base.errors import WispError
from wisp_local.demo.outside import missing
from wisp_local.run.messages import Failed, Impossible, Ready, Request, parse_answer, write_request
from wisp_local.run.places import Log
from wisp_local.run.wanted import Authority
from wisp_local.sandbox.image import in_place, this_interpreter
from wisp_local.sandbox.launching import unshare
from wisp_local.sandbox.modes import Attempt, Lost, refused
from wisp_local.sandbox.processes import FailedError, tail

_PATIENCE = 60.0  # seconds; everything that the attendant waits for has a limit of its own
_LONGEST_ANSWER = 4096
_MOST_DESCRIPTORS = 2


@dataclass(frozen=True)
class Attended:
    """What serves, and the namespaces that the command is to enter, by descriptors in this order."""

    ready: Ready
    namespaces: Sequence[int]


def call(authority: Authority, environment: Mapping[str, str], log: Log) -> Attended:
    """Start the attendant of this very process, which outlives an exec; raises WispError when it cannot serve."""
    outcome = _call(Request(authority), environment, log)
    if isinstance(outcome, Impossible):
        raise _failed(f"what serves the tokens did not start ({outcome.why})", "report it: wisp is wrong", log)
    return outcome


def _call(request: Request, environment: Mapping[str, str], log: Log) -> Attended | Impossible:
    with _descriptors() as (watched, terminal), _started(request, environment, log, (watched, terminal)) as ours:
        said, namespaces = _exchange(ours, request, log)
    match parse_answer(said) if said else Impossible(_last_words(log)):
        case Ready() as ready:
            return Attended(ready, tuple(namespaces))
        case Failed(problem, hint, status):
            raise _failed(problem, hint, log, status)
        case Impossible() as impossible:
            return impossible


def _exchange(ours: socket.socket, request: Request, log: Log) -> tuple[bytes, list[int]]:
    """Send the request; return the answer and the descriptors with it, nothing when the other side just ended."""
    try:
        ours.sendall(write_request(request))
        ours.shutdown(socket.SHUT_WR)
        said, namespaces, _, _ = socket.recv_fds(ours, _LONGEST_ANSWER, _MOST_DESCRIPTORS)
    except TimeoutError:
        raise _failed("what serves the tokens is not ready", "see whether the machine is busy", log) from None
    except ConnectionError:
        return b"", []
    for each in namespaces:
        os.set_inheritable(each, False)  # noqa: FBT003 -- os' signature; Python ignores recv_fds' flags
    return said, namespaces


def call_in_namespaces(
    authority: Authority, ways: Sequence[Attempt], environment: Mapping[str, str], log: Log
) -> Attended | tuple[Lost, ...]:
    """Start the attendant in namespaces made in the first of `ways` that works, or say why none does."""
    lost: tuple[Lost, ...] = ()
    for way in ways:
        failed = missing(way, environment["PATH"])
        if failed is None:
            outcome = _call(Request(authority, way), environment, log)
            if isinstance(outcome, Attended):
                return outcome
            failed = refused(way, outcome.why)
        lost = (*lost, failed)
    return lost


@contextlib.contextmanager
def _started(
    request: Request, environment: Mapping[str, str], log: Log, descriptors: tuple[int, int]
) -> Iterator[socket.socket]:
    """Run the attendant, which leaves at once and goes on as nobody's child; give the socket to it."""
    image = in_place(this_interpreter())
    prefix = () if request.namespaces is None else unshare(request.namespaces, "--net")
    command = (*prefix, image.python, "-m", "wisp_local.run", *map(str, descriptors))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        started = subprocess.Popen(
            command,
            env={**environment, **image.environment},
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=log.descriptor,
            pass_fds=descriptors,
            cwd="/",
            start_new_session=True,  # what the terminal sends is for the command
        )
        theirs.close()
        ours.settimeout(_PATIENCE)
        try:
            yield ours
        finally:
            started.wait()


@contextlib.contextmanager
def _descriptors() -> Iterator[tuple[int, int]]:
    """Give the pidfd of this process, and a descriptor on which whoever runs the command can be warned."""
    with contextlib.ExitStack() as stack:
        yield _kept(_own_pidfd(), stack), _kept(_standard_error(), stack)


def _kept(descriptor: int, stack: contextlib.ExitStack) -> int:
    """Return it above the standard streams, which may be closed here and are others in the attendant."""
    try:
        kept = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)
    stack.callback(os.close, kept)
    return kept


def _own_pidfd() -> int:
    try:
        return os.pidfd_open(os.getpid())
    except (AttributeError, OSError) as error:
        raise WispError("this kernel has no pidfd_open", hint="wisp run needs Linux 5.3 or later") from error


def _standard_error() -> int:
    try:
        return os.dup(2)
    except OSError:  # closed
        return os.open(os.devnull, os.O_WRONLY)


def _last_words(log: Log) -> str:
    said = [line.strip() for line in log.text().splitlines() if line.strip()]
    return said[-1] if said else "it ended without a word"


def _failed(problem: str, hint: str, log: Log, status: int = 1) -> FailedError:
    error = FailedError(problem, hint=hint, log=tail(log.text()))
    error.exit_status = status
    return error
