"""The sidecar's end of the exchange process: starts it, hands it what to ask, and outlives its faults.

The process on the other side (`wisp.entra.exchange`) loads TLS and reads the assertion, so that this one does neither.
It ends by itself when idle and is started again when there is something to ask.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from wisp.entra.child import Child
from wisp.entra.messages import Ask, Result, pack_ask, unavailable, unpack_result
from wisp.entra.settings import ExchangeSettings
from wisp.http.epoll import Loop

DEADLINE = 9.0
"""Seconds an exchange may take, from asking to answer: above the child's own limits, below what clients put up with."""

_MOST_TRIES = 2

Start: TypeAlias = Callable[[ExchangeSettings], Child]


class _Call(NamedTuple):
    """An exchange under way, or one that could not be: then `failure` is what to say at the next turn."""

    ask: Ask
    done: Callable[[Result], None]
    begun: float
    tries: int = 1
    failure: Result | None = None

    @property
    def deadline(self) -> float:
        return self.begun if self.failure else self.begun + DEADLINE


class ExchangeProcess:
    """Exchanges, in a process of their own. Registers itself with `loop`.

    `observe` is told of every exchange that ended: what was asked, the result, and the seconds it took.
    """

    def __init__(
        self,
        settings: ExchangeSettings,
        loop: Loop,
        observe: Callable[[Ask, Result, float], None],
        start: Start = Child.start,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._observe = observe
        self._start = start
        self._calls: dict[int, _Call] = {}
        self._number = 0
        self._child: Child | None = None
        loop.add_timed(self)

    @property
    def pid(self) -> int:
        """The process id of the exchange process, 0 when there is none."""
        return 0 if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the process ahead of the first question, so that nobody waits for TLS to load."""
        with suppress(OSError):  # whoever asks is told then
            self._running()

    def begin(self, ask: Ask, done: Callable[[Result], None]) -> None:
        """Ask for a token; `done` is called once, within DEADLINE seconds, and never before this returns."""
        self._send(_Call(ask, done, self._loop.clock()))

    def due(self) -> float | None:
        """Return when the oldest call runs out of time."""
        return min(call.deadline for call in self._calls.values()) if self._calls else None

    def tick(self) -> None:
        """Fail the calls that ran out of time. What hangs is ended: the next call gets a process that does not."""
        now = self._loop.clock()
        late = [number for number, call in self._calls.items() if call.deadline <= now]
        expired = [self._calls.pop(number) for number in late]
        if any(call.failure is None for call in expired):
            self._restart(blame=0)
        for call in expired:
            self._finish(call, call.failure or _overdue(self._settings.place))

    def close(self) -> None:
        """End the process; calls under way are never answered."""
        self._calls.clear()
        self._end()

    def _finish(self, call: _Call, result: Result) -> None:
        self._observe(call.ask, result, self._loop.clock() - call.begun)
        call.done(result)

    def _send(self, call: _Call) -> None:
        self._number += 1
        try:
            self._running().send(pack_ask(self._number, call.ask))
            failure = None
        except OSError as error:  # said at the next turn: the caller is not ready to hear of it now
            failure = _unusable((error.strerror or str(error)).lower())
        self._calls[self._number] = call._replace(failure=failure)

    def _running(self) -> Child:
        """Return the process, started now where there is none. Raise OSError where that fails."""
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
        except ValueError:  # it has ended, or makes no sense any more
            self._restart(blame=1)
            return
        call = self._calls.pop(number, None)
        if call is not None:
            self._finish(call, result)

    def _restart(self, *, blame: int) -> None:
        """End the process; give the calls that it left unanswered, counted as so many tries, to a new one, or up."""
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


def _unusable(why: str) -> Result:
    return unavailable(
        f"The sidecar's exchange process cannot be used: {why}; its standard error may say more",
        cause="exchange_process",
        retry_after=2.0,
    )


def _overdue(place: str) -> Result:
    return unavailable(f"{place} did not answer in {DEADLINE:g} s; check network policies and egress")
