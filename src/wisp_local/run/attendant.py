"""The attendant: serves tokens to a command until that ends, and then ends everything that it started."""

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from wisp.base.errors import WispError
from wisp_local.run.messages import Answer, Failed, Impossible, Request, parse_request, write_answer
from wisp_local.run.parts import LOG
from wisp_local.run.podsite import in_pod
from wisp_local.run.serving import Serving, Site, on_loopback, serve
from wisp_local.sandbox.modes import Attempt, Mode

_OWN_USERS = "/proc/self/ns/user"
_LOOK = 60_000  # milliseconds between looks at whether the assertion is to be renewed


def main(arguments: list[str]) -> int:
    """Attend to the process of the pidfd, and warn on the descriptor, that are the two `arguments`.

    Standard input is the socket on which to hear what is wanted and to say how it went; standard error is the log.
    """
    if os.fork() != 0:  # nobody's child: the command waits for its own children and should find no other
        os._exit(0)
    command, terminal = map(int, arguments)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _stop)
    with socket.socket(fileno=0) as caller, contextlib.ExitStack() as stack:
        try:
            serving, namespaces = _start(_hear(caller), os.environ, stack)
        except _ImpossibleError as error:
            return _say(caller, Impossible(str(error)))
        except WispError as error:
            return _say(caller, Failed(error.problem, error.hint, error.exit_status))
        _say(caller, serving.ready, namespaces)
        caller.close()
        attend(command, terminal, serving)
        os.close(terminal)  # whoever reads what the command says to its end is not to wait for us
    return 0


class _ImpossibleError(Exception):
    """There can be no namespaces."""


def _start(
    request: Request, environment: Mapping[str, str], stack: contextlib.ExitStack
) -> tuple[Serving, Sequence[int]]:
    """Start what is wanted; return it and the descriptors of the namespaces that the command is to enter."""
    site, namespaces = stack.enter_context(_site(request.namespaces, environment))
    return stack.enter_context(serve(request.authority, site)), namespaces


@contextlib.contextmanager
def _site(way: Attempt | None, environment: Mapping[str, str]) -> Iterator[tuple[Site, Sequence[int]]]:
    if way is None:
        with on_loopback(environment) as site:
            yield site, ()
        return
    try:
        site, pod = in_pod(environment)
        users = (os.open(_OWN_USERS, os.O_RDONLY | os.O_CLOEXEC),) if way.mode is Mode.USERNS else ()
    except WispError as error:
        raise _ImpossibleError(error.problem) from error
    except OSError as error:
        raise _ImpossibleError(f"{error.filename}: {error.strerror}") from error
    yield site, (*users, pod.descriptor)


def attend(command: int, terminal: int, serving: Serving, *, look: int = _LOOK) -> None:
    """Return when the process of the pidfd `command` has ended; say on `terminal` when a part did before.

    Between these, renew the assertion when it is time: every `look` milliseconds, or more often.
    """
    with contextlib.ExitStack() as stack:
        watched = {stack.enter_context(_pidfd(each.pid)): each for each in serving.parts}
        poll = select.poll()
        for descriptor in (command, *watched):
            poll.register(descriptor, select.POLLIN)
        while True:
            ended = [descriptor for descriptor, _ in poll.poll(look)]
            if command in ended:
                return
            with contextlib.suppress(WispError):  # the state is in use, or gone; the next look tries again
                serving.renew()
            for descriptor in ended:
                poll.unregister(descriptor)
                watched[descriptor].has_ended()  # waits for it, so that it is no zombie
                _warn(terminal, f"{watched[descriptor].name} has ended, and the command gets no new tokens")


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _warn(terminal: int, text: str) -> None:
    with contextlib.suppress(OSError):  # nobody need be there to read it
        os.write(terminal, f"warning: {text}; its log is {LOG.readlink()}\n".encode())


def _hear(caller: socket.socket) -> Request:
    said = b""
    while more := caller.recv(65536):
        said += more
    if not said:
        sys.exit(0)  # it has ended meanwhile
    return parse_request(said)


def _say(caller: socket.socket, answer: Answer, descriptors: Sequence[int] = ()) -> int:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        socket.send_fds(caller, [write_answer(answer)], descriptors)
    return 0 if not isinstance(answer, Failed) else answer.status


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)
