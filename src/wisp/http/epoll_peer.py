"""One accepted connection: reads, asks `Connection` what the bytes mean and the application what to answer, writes."""

import select
from collections.abc import Callable
from typing import Protocol

from wisp.http.connection import Connection, Continue, Event, Memo, Reject, Request
from wisp.http.epoll import READ, WRITE, Loop
from wisp.http.eviction import DONE, IDLE, INCOMPLETE, WORKING
from wisp.http.response import CONTINUE, HttpDate, Response, encode
from wisp.http.sockets import Address, Socket, break_off, hang_up, is_stuck

_READ_SIZE = 4 * 1024
"""Bytes read at once, and so of the requests that are answered before other connections have their turn."""
_UNSENT_LIMIT = 16 * 1024
"""Bytes of answers that a slow reader may leave with us before its further requests have to wait."""
HELD_LIMIT = 8 * 1024 * 1024
"""Bytes that all connections of a server may hold: incomplete requests, and answers that are not sent yet."""
_GONE = select.EPOLLHUP | select.EPOLLERR
_NEVER = float("inf")


class Times:
    """Limits in seconds.

    `message`: for a request to arrive. `idle`: between requests. `write`: for the client to take all that it asked for,
    from when it first let an answer wait. `linger`: for the client to close after the last answer. `drain`: for all
    connections to end when the server stops.
    """

    __slots__ = ("drain", "idle", "linger", "message", "write")

    def __init__(
        self, *, message: float = 5.0, idle: float = 120.0, write: float = 30.0, linger: float = 1.0, drain: float = 5.0
    ) -> None:
        self.message = message
        self.idle = idle
        self.write = write
        self.linger = linger
        self.drain = drain


class Source(Protocol):
    """What gives an answer piece by piece, to the peer that it is attached to (by way of `wisp.http.outlet`).

    It writes when the loop calls it for a reason of its own, never from within these.
    """

    def attach(self, peer: "Peer", request: Request) -> None:
        """Take note that `peer` waits for the answer to `request`."""

    def resume(self) -> None:
        """Go on, if it stopped because the client was slow: the client has taken what there was."""

    def cancel(self) -> None:
        """Stop for good: nobody waits any more."""


class Application(Protocol):
    """What answers requests."""

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | Source | None:
        """Return the response, or where it will come from; or None and call `reply` with it later."""

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are no request."""


class Host:
    """What the connections of one server share."""

    def __init__(self, application: Application, loop: Loop, times: Times) -> None:
        self.application = application
        self.loop = loop
        self.times = times
        self.memo = Memo()
        self.draining = False
        self.held = 0
        """Bytes that the connections hold together."""
        self.relieve: Callable[[int], None] = _ignore
        """Called with how many bytes too many they hold."""
        self.next_check = _NEVER
        """When, on the loop's clock, the next deadline of any connection may pass."""
        self._date = HttpDate()
        self._encoded: tuple[Response | None, bytes, bytes] = (None, b"", b"")

    def account(self, more: int) -> None:
        """Add to what the connections hold; have an eighth of the limit freed when they hold too much."""
        self.held += more
        if self.held > HELD_LIMIT:
            self.relieve(self.held - HELD_LIMIT * 7 // 8)

    def encode(self, response: Response, request: Request) -> bytes:
        """Return the bytes that answer `request`; they say so where the connection does not go on after them."""
        date = self._date.at(self.loop.now)
        if request.keep_alive and not (self.draining or request.http_1_0 or request.method == b"HEAD"):
            known, known_date, data = self._encoded  # a workload is given the same answer again and again
            if known is not response or known_date is not date:
                data = encode(response, date)
                self._encoded = response, date, data
            return data
        keep_alive, head = self.goes_on(request), request.method == b"HEAD"
        return encode(response, date, keep_alive=keep_alive, http_1_0=request.http_1_0, head=head)

    def reject(self, reject: Reject) -> bytes:
        """Return the bytes that answer what is no request; they are the last on their connection."""
        return encode(self.application.rejected(reject), self.date, keep_alive=False)

    @property
    def date(self) -> bytes:
        """The present time as an HTTP-date (RFC 9110 §5.6.7)."""
        return self._date.at(self.loop.now)

    def goes_on(self, request: Request) -> bool:
        """Say whether the connection goes on after the answer to `request`."""
        return request.keep_alive and not self.draining


def _ignore(_excess: int) -> None:
    """Free nothing."""


class Peer:
    """One connection. `on_close` is called once, with the peer, when it is gone and nobody works for it any more."""

    __slots__ = (
        "_asked", "_begun", "_closed", "_closing", "_connection", "_host",
        "_on_close", "_out", "_patience", "_socket", "_source", "_taken_by", "_watched", "held", "since",
    )  # fmt: skip

    def __init__(self, accepted: Socket, host: Host, on_close: Callable[["Peer"], None]) -> None:
        self._socket = accepted
        self._host = host
        self._on_close = on_close
        self._connection = Connection(host.memo)
        self._out = bytearray()
        self._closing = False  # nothing more is served
        self._closed = False
        self._asked: Request | None = None  # the request that is with the application, its answer still to come
        self._source: Source | None = None  # where that answer is coming from, piece by piece
        self._begun = True  # a request, or a part of it, is expected, and its time runs
        self._taken_by = _NEVER  # when the client must have taken every answer
        self._watched = READ
        self._patience = _NEVER
        self.since = 0.0
        """When the present wait began, on the loop's clock."""
        self.held = 0
        """Bytes received and not yet answered, and bytes of answers not yet sent."""
        host.loop.watch(accepted.fileno(), self.on_ready)
        self._wait_for(READ, host.times.message)

    @property
    def host(self) -> Host:
        """What it shares with the other connections."""
        return self._host

    def addresses(self) -> tuple[Address, Address]:
        """Return the addresses of this end and of the client. Raise OSError if the connection is gone."""
        return self._socket.getsockname(), self._socket.getpeername()

    @property
    def deadline(self) -> float:
        """When the present wait ends, on the loop's clock."""
        return self.since + self._patience

    @property
    def idle(self) -> bool:
        """Whether nothing is under way: no request begun, none with the application, no answer unsent."""
        return self._connection.between_messages and not (self._asked or self._out or self._closing)

    @property
    def stage(self) -> int:
        """How far it is: a stage of `wisp.http.eviction`."""
        if self._out:
            return INCOMPLETE
        if self._asked:
            return WORKING
        if self._closing:
            return DONE
        return INCOMPLETE if self._begun else IDLE

    def on_ready(self, events: int) -> None:
        """Serve the socket (called by the loop)."""
        if self._asked or self._out:
            if events & _GONE:
                self.close()
            elif events & WRITE:
                self._flush()
        elif self._closing:
            self._received()  # and discard it
        else:
            self._read()

    def on_deadline(self) -> None:
        """Say 408 to a request that did not arrive whole; end anything else that took too long."""
        if self._closing and not self._out and self._host.loop.now < self._taken_by and is_stuck(self._socket):
            self._wait_for(self._watched, self._host.times.linger)  # it may still take what the kernel has
        elif self._closing or self._out or self._connection.between_messages:
            self.close()
        else:
            self._serve(Reject(408, f"The request did not arrive within {self._host.times.message:g} s"))

    def reply(self, response: Response) -> None:
        """Send the answer that the application owed and go on with what was asked meanwhile."""
        request, self._asked, self._source = self._asked, None, None
        if request is None:
            return
        if self._closed:  # the client did not wait
            self._on_close(self)
            return
        self._transmit(self._answer(response, request))
        self._resume()

    def push(self, data: bytes) -> bool:
        """Send more of the answer that comes from a source; say whether there is room for what follows it."""
        self._transmit(data)
        self._settle()
        return not self._out

    def finish(self, *, goes_on: bool) -> None:
        """Take note that the answer from the source is whole, and go on with what was asked meanwhile."""
        self._asked = self._source = None
        self._closing = self._closed or not goes_on
        self._resume()

    def last_call(self) -> None:
        """Take a request that is already here, now that the server drains; close if there is none under way."""
        if self.idle:
            self._read()
        if self.idle:
            self.close()

    def give_way(self) -> None:
        """Close to make room for others, once a request that is already here is answered."""
        if self._watched == READ and not self._closing:
            self._read()
        if self.stage != WORKING:
            self.close()

    def close(self) -> None:
        """Close at once. A request that is with the application keeps its place among the server's until answered."""
        if not self._closed:
            self._closed = self._closing = True
            source, whole = self._source, not (self._out or self._source)
            if source is not None:
                self._asked = self._source = None
            self._out.clear()
            self._connection.discard()
            self._host.held -= self.held
            self.held = 0
            self._patience = _NEVER
            self._host.loop.forget(self._socket.fileno())
            if whole and not is_stuck(self._socket):
                self._socket.close()
            else:  # closed in good order, the kernel would keep what is unsent for minutes, and nobody counts it
                break_off(self._socket)
            if source is not None:
                source.cancel()
            if self._asked is None:
                self._on_close(self)

    def _received(self) -> bytes | None:
        """Return what has arrived; None where that is nothing yet, or the end: then we have closed, too."""
        try:
            data = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self._end_of_input()
        return data or None

    def _end_of_input(self) -> None:
        """Close, but not before the client has taken what the kernel has for it, or its time is over."""
        if self._host.loop.now < self._taken_by and is_stuck(self._socket):
            self._host.loop.forget(self._socket.fileno())  # that the client sends no more would be reported for ever
            self._hang_up()
        else:
            self.close()

    def _read(self) -> None:
        data = self._received()
        if data is None:
            return
        event = self._connection.receive(data)
        if event is not None:
            self._serve(event)
        elif self._begun:  # more bytes of a request do not put its deadline off
            self._account()
        elif not self._connection.between_messages:
            self._settle()

    def _serve(self, event: Event) -> None:
        """Answer `event` and those behind it, until bytes, room, or the application's answer are missing."""
        outgoing = self._respond(event)
        following = None if self._asked or self._closing else self._connection.next_event()
        if following is None:
            self._transmit(outgoing)
        else:
            self._serve_pipeline(bytearray(outgoing), following)
        self._settle()

    def _serve_pipeline(self, outgoing: bytearray, event: Event | None) -> None:
        """Answer `event` and those behind it as one, but for the sake of memory not all at once."""
        while event is not None:
            outgoing += self._respond(event)
            if len(outgoing) >= _UNSENT_LIMIT:
                self._transmit(outgoing)
                outgoing.clear()
            event = None if self._asked or self._closing or self._out else self._connection.next_event()
        self._transmit(outgoing)

    def _respond(self, event: Event) -> bytes:
        """Return the bytes that answer `event`; none when the application will answer later."""
        if isinstance(event, Request):
            response = self._host.application.answer(event, self.reply)
            if isinstance(response, Response):
                return self._answer(response, event)
            self._asked = event._replace(target=b"", headers=(), body=b"")  # what the answer's bytes depend on remains
            if response is not None:
                self._source = response
                response.attach(self, event)
            return b""
        if isinstance(event, Continue):
            return CONTINUE
        self._closing = True
        return self._host.reject(event)

    def _answer(self, response: Response, request: Request) -> bytes:
        self._closing = not self._host.goes_on(request)
        return self._host.encode(response, request)

    def _transmit(self, data: bytes | bytearray) -> None:
        """Write `data`; what the socket does not take is kept for when it does."""
        if self._out or not data:
            self._out += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self._out += data[sent:]

    def _flush(self) -> None:
        try:
            del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not self._out:
            self._resume()
            if self._source is not None:
                self._source.resume()

    def _resume(self) -> None:
        """Go on after an answer: with what was asked meanwhile, or by waiting for more."""
        event = None if self._closing or self._out or self._asked else self._connection.next_event()
        if event is None:
            self._settle()
        else:
            self._serve(event)

    def _settle(self) -> None:
        """Wait for what the state calls for, and for so long as it allows."""
        if self._closed:
            return
        host = self._host
        self._begun = begun = not self._connection.between_messages
        if self._out:
            self._taken_by = min(self._taken_by, host.loop.now + host.times.write)
            self._wait_for(WRITE, self._taken_by - host.loop.now)
        elif self._asked:
            self._wait_for(0, _NEVER)
        elif self._closing or (host.draining and not begun):
            self._hang_up()
        else:
            self._taken_by = _NEVER
            self._wait_for(READ, host.times.message if begun else host.times.idle)
            if not (begun or self.held):
                return
        self._account()

    def _account(self) -> None:
        """Note what this connection holds now; it may be closed for it, or others."""
        if not self._closed:
            before, self.held = self.held, self._connection.held + len(self._out)
            if self.held != before:
                self._host.account(self.held - before)

    def _hang_up(self) -> None:
        """Close our side and read what still comes: closing with bytes unread would reset the answer away."""
        self._closing = True
        self._taken_by = min(self._taken_by, self._host.loop.now + self._host.times.write)
        try:
            hang_up(self._socket)
        except OSError:
            self.close()
        else:
            self._wait_for(READ, self._host.times.linger)

    def _wait_for(self, events: int, seconds: float) -> None:
        host = self._host
        self.since = host.loop.now
        if events != self._watched:
            self._watched = events
            host.loop.change(self._socket.fileno(), events)
        if seconds != self._patience:  # else the deadline is but put off, and a check that comes early does no harm
            self._patience = seconds
            host.next_check = min(host.next_check, self.since + seconds)
