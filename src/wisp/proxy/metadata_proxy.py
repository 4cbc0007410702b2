"""Forward requests to the node's metadata service and stream its responses back.

Loaded with the first such request: most pods never send one.
"""

import errno
import os
from collections.abc import Callable
from typing import NamedTuple

from wisp.base.log import Log
from wisp.http.connection import Responder, Source
from wisp.http.epoll_server import READ, WRITE, Loop
from wisp.http.messages import Request, Response
from wisp.http.response_parser import Malformed, ResponseHead, ResponseReader, StreamedResponse
from wisp.http.sockets import EXHAUSTED, Address, Socket, connect, connect_error
from wisp.imds.answer import error_body
from wisp.imds.passthrough import AlreadyForwarded, ForwardedRequest, response_headers
from wisp.proxy.metrics import Metrics
from wisp.proxy.renderer import with_request_id
from wisp.proxy.returned import MetadataEndpoint, ReturnedRequest

MOST = 32
"""Requests forwarded at a time."""
ABSENCE = 5.0
"""Seconds for which a metadata service that could not be connected to counts as absent."""

_BAD_RESPONSES = ("malformed", "redirect", "truncated")  # it responds, but not correctly
CONNECT_LIMIT = 2.0
"""Seconds for the connection: the metadata service is on the node."""
READ_LIMIT = 10.0
"""Seconds for each next byte of the response."""

_READ_SIZE = 16 * 1024
_NEVER = float("inf")


class Failure(NamedTuple):
    """Why a request was not forwarded, or its response is incomplete: a label for the log, and what happened."""

    cause: str
    reason: str


class Relay:
    """One forwarded request and its response: a source of bytes for a client's connection.

    It moves bytes within time limits and reads no further than the client does. `on_end` is called once, with the relay
    and why it failed, if it did; then nothing moves any more.
    """

    __slots__ = (
        "_connection", "_loop", "_on_end", "_received", "_responder", "_unsent",
        "begun_at", "connected", "deadline", "paused", "status",
    )  # fmt: skip
    held = 0
    """Bytes of the client's request that count as held: requests on their way are limited by their number."""

    def __init__(
        self, connection: Socket, request: bytes, loop: Loop, on_end: Callable[["Relay", Failure | None], None]
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._on_end = on_end
        self._responder: Responder | None = None
        self._received = ResponseReader()
        self._unsent = bytearray(request)
        self.begun_at = loop.now
        self.deadline = self.begun_at + CONNECT_LIMIT
        self.connected = False
        self.paused = False
        self.status = 0
        """Of the response; 0 until the client has received some of it."""
        loop.watch(connection.fileno(), self._on_ready, WRITE)

    @property
    def local_address(self) -> Address:
        """The address of this end of the connection to the metadata service."""
        address: Address = self._connection.getsockname()
        return address

    def attach(self, responder: Responder) -> None:
        """Set the connection that waits for the response."""
        self._responder = responder

    def resume(self) -> None:
        """Continue reading, because the client has read everything so far."""
        if self.paused:
            self.paused = False
            self.deadline = self._loop.now + READ_LIMIT
            self._loop.watch(self._connection.fileno(), self._on_ready, READ)

    def cancel(self) -> None:
        """Stop: the client is gone."""
        self._responder = None
        self._end(Failure("client_gone", "the client did not wait for the whole answer"))

    def expire(self) -> None:
        """Stop: the deadline has passed."""
        if self.connected:
            self._end(Failure("timeout", f"nothing came for {READ_LIMIT:g} s"))
        else:
            self._end(Failure("unreachable", f"no connection within {CONNECT_LIMIT:g} s"))

    def fail(self, response: Response) -> None:
        """Report the failure to the client (called by `on_end`): by `response`, or by breaking off the one begun."""
        responder, self._responder = self._responder, None
        if responder is None:
            return
        if self.status:
            responder.abort()
        else:
            responder.reply(response)

    def _on_ready(self, events: int) -> None:
        if not self.connected:
            self._connect()
        elif events & ~WRITE:  # it may respond, or hang up, before it has read everything
            self._read()
        else:
            self._send()

    def _connect(self) -> None:
        error = connect_error(self._connection)
        if error == 0:
            self.connected = True
            self._send()
        elif error != errno.EINPROGRESS:  # the event belongs to the descriptor's previous user
            self._end(Failure("unreachable", os.strerror(error).lower()))

    def _send(self) -> None:
        self.deadline = self._loop.now + READ_LIMIT
        try:
            del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:  # it reads no more; it may have responded already
            self._unsent.clear()
        self._loop.change(self._connection.fileno(), READ | WRITE if self._unsent else READ)

    def _read(self) -> None:
        try:
            data = self._connection.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(Failure("truncated", (error.strerror or str(error)).lower()))
            return
        self.deadline = self._loop.now + READ_LIMIT
        if data:
            self._receive(data)
        elif self._received.ended():
            self._finish()
        else:
            self._end(Failure("truncated", "it closed the connection before the end of its answer"))

    def _receive(self, data: bytes) -> None:
        body = self._received.feed(data)
        if isinstance(body, Malformed):
            self._end(Failure("malformed", body.reason))
        elif self._received.head is not None:
            self._relay_response(self._received.head, body)

    def _relay_response(self, head: ResponseHead, body: bytes) -> None:
        """Send the client what has arrived. Each call may find the client gone and cancel this relay."""
        if not self.status:
            if 300 <= head.status < 400 and head.status != 304:
                self._end(Failure("redirect", f"it answered {head.status}, and redirects are not followed"))
                return
            self.status = head.status
            if self._responder is not None:
                self._responder.begin(StreamedResponse(head.status, response_headers(head.headers), head.length))
        room = True
        if self._responder is not None:
            room = self._responder.write(body)
        if self._received.complete:
            self._finish()
        elif not room:
            self._pause()

    def _pause(self) -> None:
        """Read no more until the client does; the client's own time limit keeps running."""
        if self._responder is not None:
            self.paused = True
            self.deadline = _NEVER
            self._loop.forget(self._connection.fileno())  # a reset is reported even for no events, again and again

    def _finish(self) -> None:
        responder, self._responder = self._responder, None
        if responder is not None:
            self._end(None)
            responder.end()  # last: the client's next request is served from within it

    def _end(self, failure: Failure | None) -> None:
        if self._connection.fileno() >= 0:
            if not self.paused:
                self._loop.forget(self._connection.fileno())
            self._connection.close()
            self.deadline = _NEVER
            self._on_end(self, failure)


class MetadataProxy:
    """Forward requests to the metadata service at `endpoint`: so many at a time, each counted and failures logged."""

    def __init__(self, endpoint: MetadataEndpoint, loop: Loop, metrics: Metrics, log: Log) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._metrics = metrics
        self._log = log
        self._relays: set[Relay] = set()
        self._returned: list[ReturnedRequest] = []
        self._mark = os.urandom(8).hex().encode()
        """Distinguishes requests that this sidecar forwarded from those of other sidecars."""
        self._absent_until = 0.0
        self._absence = Failure("unreachable", "")
        loop.add_timed(self)

    def answer(self, decision: ForwardedRequest | AlreadyForwarded, request: Request) -> Response | Source:
        """Forward `request`, or explain why it came back; return the source of the response, or an error."""
        if isinstance(decision, AlreadyForwarded):
            source = ReturnedRequest(request, own=decision.mark == self._mark)
            self._returned.append(source)
            return source
        started = self._start(decision, request)
        if isinstance(started, Failure):
            self._count(decision, started, 0.0)
            return with_request_id(self._response(started), request)
        return started

    def due(self) -> float | None:
        """Return when the next request times out; at once if a returned one waits for its answer."""
        if self._returned:
            return self._loop.now
        return min((relay.deadline for relay in self._relays), default=None)

    def tick(self) -> None:
        """End the requests that timed out, and answer the returned ones."""
        now = self._loop.now
        returned, self._returned = self._returned, []
        for source in returned:
            self._refuse(source)
        for relay in [relay for relay in self._relays if relay.deadline <= now]:
            relay.expire()

    def _start(self, forward: ForwardedRequest, request: Request) -> Relay | Failure:
        if self._loop.now < self._absent_until:
            return self._absence
        if len(self._relays) >= MOST:
            return Failure("too_many", f"{MOST} requests are on their way already")
        try:
            connection = connect(self._endpoint.host, self._endpoint.port)
        except OSError as error:
            failure = Failure("unreachable", (error.strerror or str(error)).lower())
            if error.errno in EXHAUSTED:
                return failure._replace(cause="exhausted")
            self._note_absence(failure)
            return failure
        data = forward.encode(self._endpoint.name, self._mark)
        relay = Relay(
            connection, data, self._loop, lambda relay, failure: self._ended(relay, failure, forward, request)
        )
        self._relays.add(relay)
        return relay

    def _ended(self, relay: Relay, failure: Failure | None, forward: ForwardedRequest, request: Request) -> None:
        self._relays.discard(relay)
        self._count(forward, failure, self._loop.now - relay.begun_at)
        if failure is None:
            return
        if failure.cause == "unreachable":
            self._note_absence(failure)
        relay.fail(with_request_id(self._response(failure), request))

    def _refuse(self, source: ReturnedRequest) -> None:
        refuse = source.refusal(self._endpoint, {relay.local_address for relay in self._relays})
        self._metrics.requests["refused"] += 1
        self._log.info("request refused", status=refuse.status, reason=refuse.description)
        response = Response(refuse.status, error_body(refuse.error, refuse.description))
        source.reply(with_request_id(response, source.request))

    def _note_absence(self, failure: Failure) -> None:
        """Remember it: outside Azure, every client that looks for the metadata service gets an answer at once."""
        self._absence = failure
        self._absent_until = self._loop.now + ABSENCE

    def _count(self, forward: ForwardedRequest, failure: Failure | None, seconds: float) -> None:
        path = forward.target.partition(b"?")[0].decode()
        if failure is None:
            self._metrics.requests["passed"] += 1
            self._log.debug("request passed", path=path, seconds=round(seconds, 4))
        else:
            self._metrics.requests["pass_failed"] += 1
            fields = {"cause": failure.cause, "reason": failure.reason, "seconds": round(seconds, 4)}
            self._log.warning("pass failed", path=path, **fields)

    def _response(self, failure: Failure) -> Response:
        """Return the response to the client: 502 if an immediate retry is useless, else 503 with the time to retry."""
        service = f"the metadata service at {self._endpoint}"
        if failure.cause in _BAD_RESPONSES:
            return Response(502, error_body("bad_gateway", f"{service} gave no usable answer: {failure.reason}"))
        if failure.cause == "unreachable":
            description = f"this node has no metadata service: {service} cannot be connected to ({failure.reason})"
            return _unavailable(description, max(1.0, self._absent_until - self._loop.now))
        return _unavailable(f"{service} cannot be asked now: {failure.reason}", 1.0)


def _unavailable(description: str, seconds: float) -> Response:
    headers = b"Retry-After: %d\r\n" % -int(-seconds // 1)  # rounded up
    body = error_body("temporarily_unavailable", description[0].upper() + description[1:])
    return Response(503, body, headers=headers)
