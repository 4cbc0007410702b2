"""The near end of the exchange process: start it, send it requests, and recover from its faults.

The process on the other side (`wisp.entra.exchange`) loads TLS and reads the assertion, so that this one does neither.
It exits when idle and is started again when there is something to request.
"""

import _signal  # type: ignore[import-not-found]  # the public module wraps its numbers in enumerations
import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeAlias

import httptools

from wisp.base.isolation import child_environment, isolated_python
from wisp.entra.messages import Result, TokenKey, pack_request, pack_settings, unavailable, unpack_result
from wisp.entra.settings import ExchangeSettings
from wisp.http.epoll_server import Timed
from wisp.http.sockets import Socket, packet_pair

DEADLINE = 9.0
"""Seconds an exchange may take: above the child's own limits, below the timeouts of clients."""

_MOST_TRIES = 2
_MOST_HANGING = 4
"""Exchanges that may hang in a process which answers others before it is replaced under those."""
_NEVER = float("-inf")
_PACKET_LIMIT = 256 * 1024
_COMMAND = isolated_python("wisp.entra.exchange", httptools)  # urllib3 is installed where httptools is


class ExchangeChild:
    """A running exchange process at the other end of `channel`. It must be ended, or it stays as a zombie."""

    def __init__(self, channel: Socket, pid: int) -> None:
        self._channel = channel
        self.pid = pid

    @classmethod
    def start(cls, settings: ExchangeSettings, command: tuple[str, ...] = _COMMAND) -> "ExchangeChild":
        """Start a process and send it its settings. Raise OSError if that fails."""
        ours, theirs = packet_pair()
        try:
            pid = os.posix_spawn(
                command[0],
                command,
                child_environment(),
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
                # A signal to the whole process group is for this process, which decides when this process ends.
                setsigmask=[_signal.SIGINT, _signal.SIGTERM],
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.settimeout(0)
        child = cls(ours, pid)
        try:
            child.send(pack_settings(settings))
        except OSError:
            child.end()
            raise
        return child

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` has a packet, or the end."""
        return self._channel.fileno()

    def send(self, packet: bytes) -> None:
        """Send one packet; if the process is ending, it is lost, and `receive` reports the end. Raise OSError."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._channel.send(packet)

    def receive(self) -> bytes | None:
        """Return the next packet, None if nothing has arrived, empty bytes once the process has ended."""
        try:
            return self._channel.recv(_PACKET_LIMIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def end(self) -> None:
        """Kill the process and wait until it is gone."""
        self._channel.close()
        os.kill(self.pid, _signal.SIGKILL)  # no error if it has ended: it has not been waited for
        os.waitpid(self.pid, 0)


class ExchangeLoop(Protocol):
    """What the exchange process needs of an event loop: that of the sidecar, or asyncio's with an adapter.

    `clock` returns the seconds of a steady clock.
    """

    clock: Callable[[], float]

    def watch(self, descriptor: int, callback: Callable[[int], None]) -> None:
        """Call back whenever `descriptor` is readable."""

    def forget(self, descriptor: int) -> None:
        """Stop watching."""

    def add_timed(self, timed: Timed) -> None:
        """Ask `timed` for its due times from now on. It is called again when `timed` is due earlier than it was."""

    def remove_timed(self, timed: Timed) -> None:
        """Ask `timed` no more."""


Start: TypeAlias = Callable[[ExchangeSettings], ExchangeChild]


class _Call(NamedTuple):
    """An exchange under way, or one that could not be started: then `failure` is its result at the next turn."""

    key: TokenKey
    request_id: str
    done: Callable[[Result], None]
    begun: float
    tries: int = 1
    failure: Result | None = None

    @property
    def deadline(self) -> float:
        return self.begun if self.failure else self.begun + DEADLINE


class ExchangeProcess:
    """Exchanges in a process of their own. Registers itself with `loop`, for its times only while calls are under way.

    `observe` is called for every exchange that ended, with the token's key, the result, and the seconds it took.
    """

    def __init__(
        self,
        settings: ExchangeSettings,
        loop: ExchangeLoop,
        observe: Callable[[TokenKey, Result, float], None],
        start: Start = ExchangeChild.start,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._observe = observe
        self._start = start
        self._calls: dict[int, _Call] = {}
        self._number = 0
        self._child: ExchangeChild | None = None
        self._answered_at = _NEVER
        """When the process last answered."""
        self._hanging = 0
        """Calls that the process has not answered in time, and may not have ended."""

    @property
    def pid(self) -> int:
        """The process id of the exchange process, 0 if it does not run."""
        return 0 if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the process ahead of the first request, which then does not wait for TLS to load."""
        with suppress(OSError):  # the first request reports it
            self._running()

    def begin(self, key: TokenKey, done: Callable[[Result], None], request_id: str = "") -> None:
        """Request a token; `done` is called once, within DEADLINE seconds, and never before this returns."""
        self._send(_Call(key, request_id, done, self._loop.clock()))

    def due(self) -> float | None:
        """Return when the oldest call runs out of time."""
        return min(call.deadline for call in self._calls.values()) if self._calls else None

    def tick(self) -> None:
        """Fail the calls that ran out of time. A process that hangs is replaced.

        If only some of its exchanges hang, it is replaced when no other is under way, or when there are many.
        """
        now = self._loop.clock()
        numbers = [number for number, call in self._calls.items() if call.deadline <= now]
        expired = [self._calls.pop(number) for number in numbers]
        begun = [call.begun for call in expired if call.failure is None]
        self._hanging += len(begun)
        if begun and (self._hanging >= _MOST_HANGING or self._answered_at < min(begun) or not self._calls):
            self._restart(blame=0)
        for call in expired:
            late = f"{self._settings.endpoint_name} did not answer in {DEADLINE:g} s"
            self._finish(call, call.failure or unavailable(f"{late}; check network policies and egress"))

    def close(self) -> None:
        """End the process; calls under way get no result."""
        self._calls.clear()
        self._end()

    def _finish(self, call: _Call, result: Result) -> None:
        if not self._calls:
            self._loop.remove_timed(self)
        self._observe(call.key, result, self._loop.clock() - call.begun)
        call.done(result)

    def _send(self, call: _Call) -> None:
        self._number += 1
        try:
            self._running().send(pack_request(self._number, call.key, call.request_id))
            failure = None
        except OSError as error:  # reported at the next turn: `done` may not be called before `begin` returns
            failure = _unusable((error.strerror or str(error)).lower())
        self._calls[self._number] = call._replace(failure=failure)
        self._loop.add_timed(self)

    def _running(self) -> ExchangeChild:
        """Return the process, started now if it does not run. Raise OSError if that fails."""
        if self._child is None:
            child = self._start(self._settings)
            self._loop.watch(child.fileno(), self._on_ready)
            self._child = child
        return self._child

    def _on_ready(self, _events: int) -> None:
        packet = None if self._child is None else self._child.receive()
        if packet is None:
            return
        try:
            number, result = unpack_result(packet)
        except ValueError:  # it has ended, or sends nonsense
            self._restart(blame=1)
            return
        self._answered_at = self._loop.clock()
        call = self._calls.pop(number, None)
        if call is None:  # it has run out of time
            self._hanging = max(0, self._hanging - 1)
            return
        self._finish(call, result)
        if self._hanging and not self._calls:
            self._end()

    def _restart(self, *, blame: int) -> None:
        """End the process. Repeat its calls in a new one; those with too many tries, `blame` included, fail."""
        self._end()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if call.tries + blame <= _MOST_TRIES:
                self._send(call._replace(tries=call.tries + blame))
            else:
                self._finish(call, _unusable("it ended without an answer"))

    def _end(self) -> None:
        if self._child is not None:
            self._loop.forget(self._child.fileno())
            self._child.end()
            self._child = None
            self._answered_at, self._hanging = _NEVER, 0


def _unusable(why: str) -> Result:
    return unavailable(
        f"The exchange process of wisp cannot be used: {why}; its standard error may say more",
        cause="exchange_process",
        retry_after=2.0,
    )
