"""One accepted connection on asyncio: bytes to `wisp.http.connection`, requests to the application, responses back."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol

from wisp.http.asyncio_wire import Wire
from wisp.http.connection import BODY_LIMIT, Connection, Continue, Event, Memo, Reject, Request
from wisp.http.places import Evict, Limits, Place, Places, Reason, State
from wisp.http.response import CONTINUE, HttpDate, Response, encode

_SENT_AT_ONCE = 256 * 1024
"""Most bytes sent to one client in one turn of the loop, which serves others too."""


class Application(Protocol):
    """What answers requests."""

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Return the response, or what will give it."""

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are not a request."""


class Times:
    """Limits in seconds.

    `handshake` and `message`: for a TLS handshake, and for a request to arrive. `answer`: for the response to be made,
    and again for the client to read it. `linger`: for the client to close its end. `idle`: between requests; API
    servers close idle connections after 90 seconds, so that a longer time leaves it to them, and no review meets a
    connection that is being closed.
    """

    __slots__ = ("answer", "handshake", "idle", "linger", "message")

    def __init__(
        self,
        *,
        handshake: float = 5.0,
        message: float = 10.0,
        answer: float = 30.0,
        linger: float = 1.0,
        idle: float = 180.0,
    ) -> None:
        self.handshake = handshake
        self.message = message
        self.answer = answer
        self.linger = linger
        self.idle = idle


class Host:
    """What all connections of one listener share; `clock` gives steady seconds."""

    def __init__(
        self,
        application: Application,
        *,
        times: Times,
        limits: Limits,
        body_limit: int = BODY_LIMIT,
        clock: Callable[[], float],
    ) -> None:
        self.application = application
        self.times = times
        self.body_limit = body_limit
        self.clock = clock
        self.date = HttpDate()
        self.memo = Memo()
        self.places: Places[Peer] = Places(limits)
        self.closed: dict[Reason, int] = dict.fromkeys(("source", "connections", "memory", "descriptors"), 0)
        """Connections that were closed, or not accepted, because of a limit."""
        self.closing = False
        """Whether every response is a connection's last."""

    def make_room(self, source: str) -> bool:
        """Make room for a connection from `source`; say whether there is any."""
        decision = self.places.for_newcomer(source)
        if decision is None:
            return True
        if isinstance(decision, Evict):
            self._evict(decision)
            return True
        self.closed[decision.reason] += 1
        return False

    def free_descriptor(self) -> bool:
        """Close a connection for the sake of its file descriptor; say whether there was one to close."""
        decision = self.places.for_descriptor()
        if decision is not None:
            self._evict(decision)
        return decision is not None

    def hold(self, peer: "Peer", held: int) -> None:
        """Record the bytes that `peer` holds, and close connections while all of them hold too many."""
        self.places.hold(peer, held)
        while (decision := self.places.for_memory()) is not None:
            self._evict(decision)

    def end_late(self) -> None:
        """End the connections whose deadline has passed."""
        now = self.clock()
        for peer in [peer for peer in self.places if peer.deadline <= now]:
            peer.on_deadline()

    def end_idle(self) -> None:
        """End the connections on which nothing is under way."""
        for peer in [peer for peer in self.places if peer.idle]:
            peer.finish()

    def _evict(self, decision: "Evict[Peer]") -> None:
        self.closed[decision.reason] += 1
        decision.place.reset()


class Peer(Place):
    """One connection: one request at a time, in the order in which they arrive."""

    __slots__ = ("_closed", "_connection", "_host", "_last", "_task", "_unsent", "_wire", "deadline")

    def __init__(self, host: Host, accepted: socket.socket, source: str) -> None:
        self._host = host
        self._wire = Wire(accepted, asyncio.get_running_loop(), self._on_ready)
        super().__init__(source, State.INCOMPLETE if self._wire.secured else State.ACCEPTED)
        self._connection = Connection(host.memo, host.body_limit)
        self._task: asyncio.Task[None] | None = None
        self._unsent = memoryview(b"")
        self._last = False  # the response being sent is the connection's last
        self._closed = False
        now = host.clock()
        self.deadline = now + (host.times.message if self._wire.secured else host.times.handshake)
        host.places.enter(self, now)
        self._wire.watch(read=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self.state in (State.IDLE, State.INCOMPLETE) and self._connection.between_messages

    def on_deadline(self) -> None:
        """End a connection that is idle or slow."""
        try:
            if self._closed:
                return
            if self.state == State.INCOMPLETE and not self._connection.between_messages:
                self._reject(Reject(408, "The request did not arrive in time"))
            elif self.state == State.IDLE:
                self.finish()
            else:
                self.reset()
        except OSError:  # the client has gone
            self.reset()

    def finish(self) -> None:
        """Tell the client that nothing follows, and close the connection when the client has closed its end.

        Closing it at once would make the kernel reset it if the client has sent more than was read, and the client
        could lose the response (RFC 9112 section 9.6).
        """
        try:
            self._wire.hang_up()
        except OSError:
            self.reset()
            return
        self._host.places.hold(self, 0)
        self._connection = Connection(self._host.memo)  # what it held is no longer needed
        self._move(State.FINISHING, self._host.times.linger)
        self._wire.watch(read=True)

    def reset(self) -> None:
        """Close the connection at once."""
        if not self._closed:
            self._wire.reset()
            self._forget()

    def _forget(self) -> None:
        self._closed = True
        self._host.places.leave(self)
        if self._task is not None:
            self._task.cancel()
            self._task = None  # it would keep this connection alive until the garbage collector runs

    def _on_ready(self) -> None:
        try:
            if self.state == State.SENDING:
                self._send_more()
            elif not self._wire.secured and self.state != State.FINISHING:
                self._handshake()
            else:
                self._receive()
        except OSError:
            self.reset()

    def _handshake(self) -> None:
        try:
            begun = self._wire.handshake()
        except ssl.SSLError:
            self.finish()  # not a reset, by which the client could lose the alert that says what is wrong
            return
        if self._wire.secured:
            self._move(State.INCOMPLETE, self._host.times.message)
        elif begun and self.state == State.ACCEPTED:
            self._host.places.move(self, State.HANDSHAKE, self._host.clock())  # with the time that is left

    def _receive(self) -> None:
        data = self._wire.receive()
        if data == b"":
            self._wire.close()
            self._forget()
        elif data is not None:
            if self.state != State.FINISHING:
                self._take(self._connection.receive(data))
            if not self._closed and self._wire.is_reset:
                self.reset()

    def _take(self, event: Event | None) -> None:
        if isinstance(event, Continue):
            self._wire.send(CONTINUE)  # it fits: all before it has been sent
            event = self._connection.next_event()
        if isinstance(event, Request):
            answer = self._host.application.answer(event)
            if isinstance(answer, Response):
                self._respond(event, answer)
                self._proceed()
            else:
                self._answer_later(event, answer)
        elif isinstance(event, Reject):
            self._reject(event)
        elif not self._connection.between_messages:
            if self.state != State.INCOMPLETE:
                self._move(State.INCOMPLETE, self._host.times.message)
            self._host.hold(self, self._connection.held)

    def _proceed(self) -> None:
        """Read on once a response is sent.

        Of several requests that came together, one is answered in each turn of the loop, so that a client that sends
        hundreds of them gets no more than its share.
        """
        if self._closed or self.state != State.IDLE:
            return
        if self._connection.between_messages:
            self._wire.watch(read=True)
        else:
            self._wire.watch()
            asyncio.get_running_loop().call_soon(self._take_next)

    def _take_next(self) -> None:
        if self._closed or self.state != State.IDLE:
            return
        try:
            self._wire.watch(read=True)
            self._take(self._connection.next_event())
        except OSError:
            self.reset()

    def _answer_later(self, request: Request, answer: Awaitable[Response]) -> None:
        self._wire.watch()  # requests that follow wait
        self._move(State.ANSWERING, self._host.times.answer)
        self._task = asyncio.ensure_future(self._later(request, answer))
        self._host.hold(self, len(request.body) + self._connection.held)

    async def _later(self, request: Request, answer: Awaitable[Response]) -> None:
        response = await answer
        self._task = None
        try:
            self._respond(request, response)
            self._proceed()
        except OSError:
            self.reset()

    def _respond(self, request: Request, response: Response) -> None:
        host, now = self._host, self._host.clock()
        keep_alive = request.keep_alive and not host.closing
        self._last = not keep_alive
        self._send(
            encode(
                response,
                host.date.at(now),
                keep_alive=keep_alive,
                http_1_0=request.http_1_0,
                head=request.method == b"HEAD",
            ),
            now,
        )

    def _reject(self, reject: Reject) -> None:
        response, now = self._host.application.rejected(reject), self._host.clock()
        self._last = True
        self._send(encode(response, self._host.date.at(now), keep_alive=False), now)

    def _send(self, data: bytes, now: float) -> None:
        sent = self._wire.send(data)
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._flush()
        if self._unsent:
            self._wire.watch(write=True)
            self._move(State.SENDING, self._host.times.answer)
            self._host.hold(self, len(data) + self._connection.held)
        else:
            self._sent(now)

    def _send_more(self) -> None:
        self._flush()
        if not self._unsent:
            self._sent(self._host.clock())
            self._proceed()

    def _flush(self) -> None:
        room = _SENT_AT_ONCE
        while room > 0 and self._unsent and (sent := self._wire.send(self._unsent)):
            self._unsent = self._unsent[sent:]
            room -= sent

    def _sent(self, now: float) -> None:
        if self._last:
            self.finish()
            return
        self._host.places.move(self, State.IDLE, now)
        self.deadline = now + self._host.times.idle
        if self.held:
            self._host.places.hold(self, self._connection.held)

    def _move(self, state: str, seconds: float) -> None:
        now = self._host.clock()
        self._host.places.move(self, state, now)
        self.deadline = now + seconds
