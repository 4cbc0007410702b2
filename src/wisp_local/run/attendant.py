"""`python -m wisp_local.run.attendant`: serves tokens to a command until that ends, then stops what it started."""

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from wisp.base.errors import WispError
from wisp_local.run.messages import Answer, Failed, Impossible, encode, parse_request
from wisp_local.run.services import Services, Site, loopback_site, pod_site, run_services
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.processes import STANDARD_ERROR

_OWN_USERS = "/proc/self/ns/user"
_INTERVAL = 60_000  # milliseconds between checks whether the assertion must be renewed


def main(arguments: list[str]) -> int:
    """Serve the process of the pidfd that is the first argument. Warnings go to the descriptor that is the second.

    Standard input is the socket for the request and the answer; standard error is the log.
    """
    if os.fork() != 0:  # the command waits for its own children and must not find another
        os._exit(0)
    command, terminal = map(int, arguments)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _stop)
    with socket.socket(fileno=0) as client, contextlib.ExitStack() as stack:
        request = b""
        while chunk := client.recv(65536):
            request += chunk
        if not request:
            return 0  # the client has ended meanwhile
        parsed = parse_request(request)
        try:
            site, namespaces = stack.enter_context(_site(parsed.namespaces, os.environ))
            services = stack.enter_context(run_services(parsed.authority, site))
        except _ImpossibleError as error:
            _send(client, Impossible(str(error)))
            return 0
        except WispError as error:
            _send(client, Failed(error.problem, error.hint, error.exit_status))
            return error.exit_status
        _send(client, services.ready, namespaces)
        client.close()
        attend(command, terminal, services)
        os.close(terminal)  # readers of the command's output must not wait for us
    return 0


class _ImpossibleError(Exception):
    """The namespaces cannot be set up."""


@contextlib.contextmanager
def _site(attempt: Attempt | None, environment: Mapping[str, str]) -> Iterator[tuple[Site, Sequence[int]]]:
    """Set up the site; return it with the descriptors of the namespaces that the command must enter."""
    if attempt is None:
        with loopback_site(environment) as site:
            yield site, ()
        return
    try:
        site, pod = pod_site(environment)
        users = (os.open(_OWN_USERS, os.O_RDONLY | os.O_CLOEXEC),) if attempt.mode is Mode.USERNS else ()
    except WispError as error:
        raise _ImpossibleError(error.problem) from error
    except OSError as error:
        raise _ImpossibleError(f"{error.filename}: {error.strerror}") from error
    yield site, (*users, pod.descriptor)


def attend(command: int, terminal: int, services: Services, *, interval: int = _INTERVAL) -> None:
    """Return when the process of the pidfd `command` has ended. Warn on `terminal` if a component ends before it.

    Every `interval` milliseconds or more often, renew the assertion if it is due.
    """
    with contextlib.ExitStack() as stack:
        watched = {}
        poll = select.poll()
        poll.register(command, select.POLLIN)
        for component in services.components:
            descriptor = os.pidfd_open(component.pid)
            stack.callback(os.close, descriptor)
            watched[descriptor] = component
            poll.register(descriptor, select.POLLIN)
        while True:
            ended = [descriptor for descriptor, _ in poll.poll(interval)]
            if command in ended:
                return
            with contextlib.suppress(WispError):  # the state is in use or deleted; the next check tries again
                services.renew()
            for descriptor in ended:
                poll.unregister(descriptor)
                watched[descriptor].has_ended()  # waits for it, so that it does not stay a zombie
                _warn(terminal, f"{watched[descriptor].name} has ended, and the command gets no new tokens")


def _warn(terminal: int, text: str) -> None:
    with contextlib.suppress(OSError):  # its reader may have ended
        os.write(terminal, f"warning: {text}; its log is {STANDARD_ERROR.readlink()}\n".encode())


def _send(client: socket.socket, answer: Answer, descriptors: Sequence[int] = ()) -> None:
    with contextlib.suppress(OSError):  # the client may have ended
        socket.send_fds(client, [encode(answer)], descriptors)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
