"""One accepted connection on asyncio: bytes to `wisp.http.connection`, requests to the application, answers back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from wisp.http.connection import BODY_LIMIT, Connection, Continue, Event, Memo, Reject, Request
from wisp.http.response import CONTINUE, HttpDate, Response, encode

_NEVER = float("inf")


class Application(Protocol):
    """What answers requests."""

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Return the response, or what will give it."""

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are no request."""


class Times:
    """Limits in seconds: for a message to arrive, for an idle connection, for an answer to be made and taken.

    API servers keep idle connections for 90 seconds: waiting longer leaves it to them to close, so that no review ever
    meets a connection that is just being closed.
    """

    __slots__ = ("answer", "idle", "message")

    def __init__(self, *, message: float = 10.0, idle: float = 180.0, answer: float = 30.0) -> None:
        self.message = message
        self.idle = idle
        self.answer = answer


class Host:
    """What all connections of one listener share; `clock` gives steady seconds."""

    def __init__(
        self,
        application: Application,
        *,
        times: Times,
        most: int = 1024,
        body_limit: int = BODY_LIMIT,
        clock: Callable[[], float],
    ) -> None:
        self.application = application
        self.times = times
        self.most = most
        self.body_limit = body_limit
        self.clock = clock
        self.date = HttpDate()
        self.memo = Memo()
        self.peers: dict[Peer, None] = {}
        """In the order they came."""
        self.closing = False
        """Whether every answer is a connection's last."""

    def make_room(self) -> bool:
        """Close the connection that has been idle longest if all places are taken; say whether there is one."""
        if len(self.peers) < self.most:
            return True
        idle = min((peer for peer in self.peers if peer.idle), key=lambda peer: peer.deadline, default=None)
        if idle is not None:
            idle.end()
        return idle is not None

    def end_late(self) -> None:
        """End the connections whose deadline has passed."""
        now = self.clock()
        for peer in [peer for peer in self.peers if peer.deadline <= now]:
            peer.on_deadline()

    def end_idle(self) -> None:
        """End the connections on which nothing is under way."""
        for peer in [peer for peer in self.peers if peer.idle]:
            peer.end()


class Peer(asyncio.Protocol):
    """One connection: one request at a time, in the order they came."""

    __slots__ = ("_connection", "_full", "_host", "_task", "_transport", "deadline")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._connection = Connection(host.memo, host.body_limit)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._full = False
        self.deadline = _NEVER

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._task is None and not self._full and self._connection.between_messages

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or hang up (called by the loop)."""
        stream = cast("asyncio.Transport", transport)  # a stream's: uvloop's are no subclass of it
        if not self._host.make_room():
            stream.abort()
            return
        self._transport = stream
        self._host.peers[self] = None
        self.deadline = self._host.clock() + self._host.times.message

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Forget the connection and what was being answered on it (called by the loop)."""
        self._transport = None
        self._host.peers.pop(self, None)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Take no further request from whoever does not take the answers (called by the loop)."""
        self._full = True
        self._hold()

    def resume_writing(self) -> None:
        """Go on (called by the loop)."""
        self._full = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Answer what has arrived whole (called by the loop)."""
        if self._task is not None or self._full:  # it was read before reading stopped
            self._connection.keep(data)
            return
        began = self._connection.between_messages
        event = self._connection.receive(data)
        if event is not None:
            self._take(event)
        elif began:
            self.deadline = self._host.clock() + self._host.times.message

    def on_deadline(self) -> None:
        """End a connection that is idle, slow or not read from."""
        if self._task is None and not self._full and not self._connection.between_messages:
            self._reject(Reject(408, "The request did not arrive in time"))
        else:
            self.end()

    def end(self) -> None:
        """Close the connection once what was written is sent; at once where nobody takes it."""
        if self._transport is not None:
            if self._full:
                self._transport.abort()
            else:
                self._transport.close()

    def _take(self, event: Event | None) -> None:
        while event is not None:
            if isinstance(event, Request):
                answer = self._host.application.answer(event)
                if not isinstance(answer, Response):
                    self._hold()
                    self.deadline = self._host.clock() + self._host.times.answer
                    self._task = asyncio.ensure_future(self._later(event, answer))
                    return
                self._write(event, answer)
            elif isinstance(event, Continue):
                self._send(CONTINUE)
            else:
                self._reject(event)
                return
            if self._full or self._transport is None or self._transport.is_closing():
                return
            event = self._connection.next_event()

    async def _later(self, request: Request, answer: Awaitable[Response]) -> None:
        response = await answer
        self._task = None
        self._write(request, response)
        self._go_on()

    def _go_on(self) -> None:
        if self._task is None and not self._full and self._transport is not None:
            self._transport.resume_reading()
            self._take(self._connection.next_event())

    def _hold(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _write(self, request: Request, response: Response) -> None:
        host, now = self._host, self._host.clock()
        keep_alive = request.keep_alive and not host.closing
        self.deadline = now + host.times.idle
        self._send(
            encode(
                response,
                host.date.at(now),
                keep_alive=keep_alive,
                http_1_0=request.http_1_0,
                head=request.method == b"HEAD",
            )
        )
        if not keep_alive:
            self.end()

    def _reject(self, reject: Reject) -> None:
        response = self._host.application.rejected(reject)
        self._send(encode(response, self._host.date.at(self._host.clock()), keep_alive=False))
        self.end()

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
