"""One request on its way to the metadata service and the answer on its way back: a source that a peer is attached to.

It moves bytes within time limits, reads no further than the client does, and says how it ended; what is said of a
failure, and whether a request may pass at all, is decided elsewhere.
"""

from collections.abc import Callable
from errno import EINPROGRESS
from os import strerror
from typing import NamedTuple

from wisp.http.epoll import READ, WRITE, Loop
from wisp.http.epoll_peer import Peer
from wisp.http.head import Request
from wisp.http.outlet import Outlet, Streamed
from wisp.http.received import Malformed, Received, ReceivedHead
from wisp.http.response import Response
from wisp.http.sockets import Address, Socket, connect_error
from wisp.imds.passthrough import response_headers

CONNECT_LIMIT = 2.0
"""Seconds for the connection: the metadata service is on the node."""
READ_LIMIT = 10.0
"""Seconds for each next byte of the answer."""

_READ_SIZE = 16 * 1024
_NEVER = float("inf")


class Endpoint(NamedTuple):
    """Where the node's metadata service is: an IPv4 address and a port."""

    host: str
    port: int

    @property
    def name(self) -> bytes:
        """Its Host header (RFC 9110 §7.2)."""
        return (self.host if self.port == 80 else str(self)).encode()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Failure(NamedTuple):
    """Why a request was not passed on, or its answer not whole: a word for the log, and what happened."""

    cause: str
    reason: str


class Relay:
    """One pass. `on_end` is called once, with the relay and why it failed, if it did; then nothing moves any more."""

    __slots__ = (
        "_connection", "_loop", "_on_end", "_outlet", "_received", "_unsent",
        "begun_at", "connected", "deadline", "paused", "status",
    )  # fmt: skip

    def __init__(
        self, connection: Socket, request: bytes, loop: Loop, on_end: Callable[["Relay", Failure | None], None]
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._on_end = on_end
        self._outlet: Outlet | None = None
        self._received = Received()
        self._unsent = bytearray(request)
        self.begun_at = loop.now
        self.deadline = self.begun_at + CONNECT_LIMIT
        self.connected = False
        self.paused = False
        self.status = 0
        """Of the answer; 0 while the client has heard nothing of it."""
        loop.watch(connection.fileno(), self._on_ready, WRITE)

    @property
    def local_address(self) -> Address:
        """The address from which the metadata service is asked."""
        address: Address = self._connection.getsockname()
        return address

    def attach(self, peer: Peer, request: Request) -> None:
        """Take note of who waits for the answer."""
        self._outlet = Outlet(peer, request)

    def resume(self) -> None:
        """Read on, now that the client has taken what there was."""
        if self.paused:
            self.paused = False
            self.deadline = self._loop.now + READ_LIMIT
            self._loop.watch(self._connection.fileno(), self._on_ready, READ)

    def cancel(self) -> None:
        """Stop: the client is gone."""
        self._outlet = None
        self._end(Failure("client_gone", "the client did not wait for the whole answer"))

    def expire(self) -> None:
        """Stop: the deadline has passed."""
        if self.connected:
            self._end(Failure("timeout", f"nothing came for {READ_LIMIT:g} s"))
        else:
            self._end(Failure("unreachable", f"no connection within {CONNECT_LIMIT:g} s"))

    def fail(self, response: Response) -> None:
        """Tell the client of the failure (called by `on_end`): by `response`, or by the end of what has begun."""
        outlet, self._outlet = self._outlet, None
        if outlet is None:
            return
        if self.status:
            outlet.abort()
        else:
            outlet.reply(response)

    def _on_ready(self, events: int) -> None:
        if not self.connected:
            self._connect()
        elif events & ~WRITE:  # it may answer, or hang up, before it has read everything
            self._read()
        else:
            self._send()

    def _connect(self) -> None:
        error = connect_error(self._connection)
        if error == 0:
            self.connected = True
            self._send()
        elif error != EINPROGRESS:  # the event was meant for who had the descriptor before
            self._end(Failure("unreachable", strerror(error).lower()))

    def _send(self) -> None:
        self.deadline = self._loop.now + READ_LIMIT
        try:
            del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:  # it reads no more; it may have said why
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
            self._pass_on(self._received.head, body)

    def _pass_on(self, head: ReceivedHead, body: bytes) -> None:
        """Give the client what has come, each call of which may find the client gone and cancel us."""
        if not self.status:
            if 300 <= head.status < 400 and head.status != 304:
                self._end(Failure("redirect", f"it answered {head.status}, and redirects are not followed"))
                return
            self.status = head.status
            if self._outlet is not None:
                self._outlet.begin(Streamed(head.status, response_headers(head.headers), head.length))
        room = True
        if self._outlet is not None:
            room = self._outlet.write(body)
        if self._received.complete:
            self._finish()
        elif not room:
            self._pause()

    def _pause(self) -> None:
        """Read no more until the client has; the client's own time limit goes on."""
        if self._outlet is not None:
            self.paused = True
            self.deadline = _NEVER
            self._loop.forget(self._connection.fileno())  # watched for nothing, a reset would call again and again

    def _finish(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            self._end(None)
            outlet.end()  # last: the client's next request is served from within it

    def _end(self, failure: Failure | None) -> None:
        if self._connection.fileno() >= 0:
            if not self.paused:
                self._loop.forget(self._connection.fileno())
            self._connection.close()
            self.deadline = _NEVER
            self._on_end(self, failure)
