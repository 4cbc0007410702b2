"""One server connection of HTTP/1.1 as a state machine without I/O: bytes in, bytes and states out.

The driver (`wisp.http.peer`) hands in what arrives, sends what is returned, waits for what the state says, and calls
`expire` when the state's time is up. `now` is in seconds of a steady clock.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wisp.http.messages import (
    CONTINUE,
    REASONS,
    WITHOUT_BODY,
    Reject,
    Request,
    Response,
    connection_header,
    encode,
)
from wisp.http.parser import BODY_LIMIT, Continue, Event, HeadCache, RequestReader

if TYPE_CHECKING:  # most sidecars relay no responses, and do not load this
    from wisp.http.response_parser import StreamedResponse

NOTHING, READ, WRITE = 0, 1, 4
"""What a driver waits for: bits of epoll (EPOLLIN, EPOLLOUT)."""
UNSENT_LIMIT = 16 * 1024
"""Bytes of responses after which further requests wait until the client has taken them."""
_AT_ONCE = 64
"""Most requests of one client that are answered before other clients have their turn."""
_NEVER = float("inf")


class State(NamedTuple):
    """What a connection waits for, for how long (a field of `Times`), and what happens then.

    `makes_room`: whether it is closed for a newcomer: "first" of all, "no", or when its state has the most connections.
    """

    name: str
    waits_for: int
    limit: str
    late: str
    makes_room: str


# fmt: off
#                  name         waits for  limit        when the time is up     makes room
ACCEPTED =  State("accepted",   READ,      "handshake", "close",                "as one of many")
HANDSHAKE = State("handshake",  READ,      "handshake", "close",                "as one of many")
IDLE =      State("idle",       READ,      "idle",      "finish",               "as one of many")
RECEIVING = State("receiving",  READ,      "message",   "408 or close",         "as one of many")
ANSWERING = State("answering",  NOTHING,   "answer",    "close",                "no")
SENDING =   State("sending",    WRITE,     "write",     "close",                "as one of many")
FINISHING = State("finishing",  READ,      "linger",    "close unless taking",  "first")
FLUSHING =  State("flushing",   NOTHING,   "linger",    "close unless taking",  "first")
CLOSED =    State("closed",     NOTHING,   "",          "",                     "no")
# fmt: on
STATES = (ACCEPTED, HANDSHAKE, IDLE, RECEIVING, ANSWERING, SENDING, FINISHING, FLUSHING)
"""ACCEPTED: nothing of a TLS handshake has arrived; HANDSHAKE: the first message has. IDLE: the next request is
awaited; RECEIVING: the first one, or the rest of one. ANSWERING: the application owes a response. SENDING: the client
has not taken all responses, or its further requests wait for their turn. FINISHING: nothing follows, and the client is
to close; FLUSHING: it has, but the kernel still has bytes for it. `ServerConnection._settle` says which state follows.
"""


class Times(NamedTuple):
    """Limits in seconds.

    `handshake` and `message`: for a TLS handshake, and for a request to arrive. `answer`: for the application's
    response. `write`: for the client to take all that it asked for, from when it first let a response wait. `linger`:
    for the client to close after the last response. `idle`: between requests. `drain`: for all connections to end when
    the server stops.
    """

    handshake: float = 5.0
    message: float = 5.0
    answer: float = _NEVER
    write: float = 30.0
    linger: float = 1.0
    idle: float = 120.0
    drain: float = 5.0


class Limits(NamedTuple):
    """Limits of one server; the defaults are the sidecar's.

    Connections, connections of one source address (0: no limit), bytes held for all connections together (incomplete
    requests, requests being answered and unsent responses), bytes of a request's body, and times.
    """

    connections: int = 1024
    per_source: int = 0
    held: int = 8 * 1024 * 1024
    body: int = BODY_LIMIT
    times: Times = Times()


DEFAULT_LIMITS = Limits()


class Outlet(Protocol):
    """Where a response is written to in pieces. Each call may close the connection, and then cancels the source."""

    def begin(self, streamed: "StreamedResponse") -> None:
        """Send the head."""

    def write(self, data: bytes) -> bool:
        """Send a piece of the body; return whether more may follow before `Source.resume` is called."""

    def end(self) -> None:
        """Complete the response."""

    def abort(self) -> None:
        """Close the connection so that the client cannot take what it has for the whole response."""


class Responder(Outlet, Protocol):
    """The client's side of a request: it takes a whole response, or one in pieces."""

    def reply(self, response: Response) -> None:
        """Send a whole response; ignored if none is owed."""

    def addresses(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Return the addresses of this end and of the client. Raise OSError if the connection is gone."""


class Source(Protocol):
    """Where a response comes from that is not there at once. The loop calls it: it writes from none of these methods.

    `held`: bytes of the request that it keeps.
    """

    held: int

    def attach(self, responder: Responder) -> None:
        """Answer by way of `responder`."""

    def resume(self) -> None:
        """Continue if it stopped because the client was slow: the client has taken all there was."""

    def cancel(self) -> None:
        """Stop: the connection is gone."""


class Application(Protocol):
    """What answers requests."""

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | Source | None:
        """Return the response, or where it will come from; or None and call `reply` with it later."""

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are not a request."""


class Host:
    """What the connections of one server share. `date` returns the HTTP-date for a time of the steady clock."""

    def __init__(self, application: Application, limits: Limits, date: Callable[[float], bytes]) -> None:
        self.application = application
        self.times = limits.times
        self.limits = limits
        self.date = date
        self.cache = HeadCache()
        self.held = 0
        """Bytes that the connections hold together."""
        self.next_deadline = _NEVER
        """No deadline of any connection is earlier."""
        self.closing = False
        """Whether every response is its connection's last."""
        self._encoded: tuple[Response | None, bytes, bytes] = (None, b"", b"")

    def encode(self, response: Response, request: Request, now: float) -> bytes:
        """Return the bytes that answer `request`."""
        date = self.date(now)
        head = request.method == b"HEAD"
        if request.keep_alive and not (self.closing or request.http_1_0 or head):
            cached, cached_date, data = self._encoded  # a workload is given the same response again and again
            if cached is not response or cached_date is not date:
                data = encode(response, date)
                self._encoded = response, date, data
            return data
        keep_alive = request.keep_alive and not self.closing
        return encode(response, date, keep_alive=keep_alive, http_1_0=request.http_1_0, head=head)


class ServerConnection:
    """One connection of `host`. What its methods return is to be sent to the client, before anything else is."""

    __slots__ = (
        "_answering", "_chunked", "_closing", "_host", "_more", "_reader", "_responder", "_taken_by",
        "held", "limit", "since", "source", "source_address", "state", "unsent",
    )  # fmt: skip

    def __init__(
        self, host: Host, responder: Responder, now: float, *, state: State = RECEIVING, source_address: str = ""
    ) -> None:
        self._host = host
        self._responder: Responder | None = responder
        self._reader = RequestReader(host.cache, host.limits.body)
        self._answering: Request | None = None  # what the bytes of the response depend on; the application works on it
        self._chunked = False
        self._closing = False  # no further request is served
        self._more = False  # requests are here that wait for the next turn
        self._taken_by = _NEVER  # when the client must have taken every response
        self.source_address = source_address
        self.source: Source | None = None
        """Where the response comes from that the application owes."""
        self.unsent = bytearray()
        """What the client has not taken yet."""
        self.held = 0
        """Bytes received and not yet answered, and bytes of responses not yet sent."""
        self.state = state
        self.since = now
        """When the present wait began; the arrival of single bytes does not renew it."""
        self.limit = 0.0
        """Seconds that it may take."""
        self._enter(state, now)

    @property
    def deadline(self) -> float:
        """When the present wait ends."""
        return self.since + self.limit

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way: no request has begun, none is answered."""
        return self.state in (IDLE, RECEIVING) and self._reader.between_messages

    @property
    def answering(self) -> bool:
        """Whether the application works on a response, and the client has taken all of it so far."""
        return self._answering is not None and not self.unsent

    @property
    def owes(self) -> bool:
        """Whether the application still works on a response, which cannot be called off."""
        return self._answering is not None and self.source is None

    def shake_hands(self, now: float, *, done: bool) -> None:
        """Record that the client's first message of the TLS handshake is here, or that the handshake is `done`."""
        if done:
            self._enter(RECEIVING, now)
        elif self.state is ACCEPTED:
            self.limit -= now - self.since  # the time for the whole handshake goes on
            self.since = now
            self.state = HANDSHAKE

    def receive(self, data: bytes, now: float) -> bytes:
        """Take what arrived, in a state that waits to read; after the last response it is ignored."""
        if self._closing:
            return b""
        self._taken_by = _NEVER
        event = self._reader.receive(data)
        if event is not None:
            return self._serve(event, b"", now)
        if self.state is not RECEIVING and not self._reader.between_messages:
            self._enter(RECEIVING, now)
        else:  # more bytes of a request do not put its deadline off
            self._account()
        return b""

    def proceed(self, now: float) -> bytes:
        """Continue after the client has taken everything."""
        self._more = False
        waits = self._closing or self._answering is not None
        return self._serve(None if waits else self._reader.next_event(), b"", now)

    def keep_unsent(self, data: bytes | memoryview, now: float) -> None:
        """Keep what the socket did not take of what was returned."""
        self.unsent += data
        self._settle(now)

    def answer(self, response: Response, now: float) -> bytes:
        """Answer with the response that the application owed."""
        request = self._answering
        return b"" if request is None else self._complete(request, self._host.encode(response, request, now), now)

    def begin(self, streamed: "StreamedResponse", now: float) -> bytes:
        """Begin the response that the application owed; `piece` and `end` follow."""
        request = self._answering
        if request is None:
            return b""
        framing = b""
        keep_alive = request.keep_alive and not self._host.closing
        if streamed.status in WITHOUT_BODY:
            pass
        elif streamed.length is not None:
            framing = b"Content-Length: %d\r\n" % streamed.length
        elif not request.http_1_0:
            self._chunked = True
            framing = b"Transfer-Encoding: chunked\r\n"
        else:  # only the end of the connection tells where the body ends
            keep_alive = False
        self._answering = request._replace(keep_alive=keep_alive)
        return b"HTTP/1.1 %d %b\r\nDate: %b\r\n%b%b%b\r\n" % (
            streamed.status,
            REASONS.get(streamed.status, b"Unknown"),
            self._host.date(now),
            streamed.headers,
            framing,
            connection_header(keep_alive=keep_alive, http_1_0=request.http_1_0),
        )

    def piece(self, data: bytes) -> bytes:
        """Frame a piece of the body of the response that has begun."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data

    def end(self, now: float) -> bytes:
        """End the response that has begun."""
        request = self._answering
        return b"" if request is None else self._complete(request, b"0\r\n\r\n" if self._chunked else b"", now)

    def finish(self, now: float, *, client_closed: bool = False) -> None:
        """Serve nothing more, and wait for the client to close, or to take what the kernel has for it."""
        self._closing = True
        if self.state in (IDLE, RECEIVING):
            self._taken_by = _NEVER
        self._enter(FLUSHING if client_closed else FINISHING, now)

    def expire(self, now: float, *, still_taken: bool = False) -> bytes | None:
        """Return what to send now that the time is up; None: close. `still_taken`: the kernel has unsent bytes."""
        late = self.state.late
        if late == "408 or close" and not self._reader.between_messages:
            reject = Reject(408, f"The request did not arrive within {self._host.times.message:g} s")
            return self._serve(reject, b"", now)
        if late == "finish":
            self.finish(now)
            self._taken_by = now
            return b""
        if late == "close unless taking" and still_taken and now < self._taken_by:
            self._enter(self.state, now)
            return b""
        return None

    def may_still_take(self, now: float) -> bool:
        """Return whether the client has time left for taking what was sent."""
        return self.state in (IDLE, RECEIVING) or now < self._taken_by

    def close(self) -> None:
        """Free what is held."""
        self.state, self.limit = CLOSED, _NEVER
        self._reader.discard()
        self._responder = None  # it refers to this object, and no cycle may be left to the garbage collector
        self._closing = True
        if self.source is not None:
            self.source = self._answering = None
        self.unsent = bytearray()  # the old one cannot be emptied while an error of sending it is being handled
        self._account()

    def release(self) -> None:
        """Take note that the response which the application owed to a closed connection is there."""
        self._answering = None

    def _complete(self, request: Request, output: bytes, now: float) -> bytes:
        self._answering = self.source = None
        self._chunked = False
        self._closing = self._closing or self._host.closing or not request.keep_alive
        return self._serve(None if self._closing or self.unsent else self._reader.next_event(), output, now)

    def _serve(self, event: Event | None, output: bytes, now: float) -> bytes:
        """Answer `event` and those behind it, until bytes, room or the application's response are missing."""
        host, reader, responder = self._host, self._reader, self._responder
        served = 0
        while event is not None and responder is not None:
            if isinstance(event, Request):
                if self.source_address:
                    event = Request(*event[:6], self.source_address)
                response = host.application.answer(event, responder.reply)
                if isinstance(response, Response):
                    self._closing = host.closing or not event.keep_alive
                    data = host.encode(response, event, now)
                    output = output + data if output else data
                else:
                    self._answering = event._replace(target=b"", headers=(), body=b"")
                    if response is not None:
                        self.source = response
                        response.attach(responder)
                    break
            elif isinstance(event, Continue):
                output += CONTINUE
            else:
                self._closing = True
                output += encode(host.application.rejected(event), host.date(now), keep_alive=False)
            if not reader.buffer or self._closing:
                break
            served += 1
            if served >= _AT_ONCE or len(output) >= UNSENT_LIMIT:
                self._more = True
                break
            event = reader.next_event()
        self._settle(now)
        return output

    def _settle(self, now: float) -> None:
        """Enter the state that follows from what is left to do: the first that applies."""
        host, reader = self._host, self._reader
        if self.unsent or self._more:
            state = SENDING
        elif self._answering is not None:
            state = ANSWERING
        elif self._closing:
            state = FINISHING
        elif not reader.between_messages:
            state = RECEIVING
        elif host.closing:
            state = FINISHING
        elif self.state is IDLE:  # as before: a whole request was answered at once
            self.since = now
            return
        else:
            state = IDLE
        self._enter(state, now)

    def _enter(self, state: State, now: float) -> None:
        host = self._host
        self.state = state
        self.since = now
        self.limit = getattr(host.times, state.limit)
        if state is SENDING or state.limit == "linger":
            self._taken_by = min(self._taken_by, now + host.times.write)
            if state is SENDING:
                self.limit = self._taken_by - now
            else:
                self._reader.discard()
        host.next_deadline = min(host.next_deadline, now + self.limit)
        self._account()

    def _account(self) -> None:
        source = self.source
        held = self._reader.held + len(self.unsent) + (0 if source is None else source.held)
        self._host.held += held - self.held
        self.held = held
