"""Drives accepted connections: moves bytes between sockets and `ServerConnection`s, and closes what must go.

What depends on the event loop is in `wisp.http.epoll_server` and `wisp.http.asyncio_server`.
"""

import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from wisp.http.connection import (
    CLOSED,
    FLUSHING,
    READ,
    RECEIVING,
    WRITE,
    Application,
    Host,
    Limits,
    ServerConnection,
    State,
)
from wisp.http.eviction import Reason, holding_most
from wisp.http.messages import Response
from wisp.http.sockets import Address, Socket, hang_up, is_stuck, reset

if TYPE_CHECKING:  # most sidecars relay no responses, and do not load this
    from wisp.http.response_parser import StreamedResponse

_GONE = select.EPOLLHUP | select.EPOLLERR
_NEVER = float("inf")


class HttpDate:
    """The Date header's value, formatted once a second. `clock` returns Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._text = b""

    def at(self, now: float) -> bytes:
        """Return the present time as an HTTP-date (RFC 9110 §5.6.7); `now` is in seconds of a steady clock."""
        if now >= self._until:
            unix = self._clock()
            self._until = now + 1.0 - unix % 1.0
            self._text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(unix)).encode()
        return self._text


class Server:
    """The connections of one listener."""

    def __init__(self, application: Application, limits: Limits) -> None:
        self.host = Host(application, limits, HttpDate().at)
        self.peers: dict[ServerConnection, Peer] = {}
        """In the order in which they came."""
        self.closed: dict[Reason, int] = {"source": 0, "connections": 0, "memory": 0, "descriptors": 0}
        """Connections that were closed, or not accepted, because of a limit."""

    @property
    def now(self) -> float:
        """Seconds of a steady clock, as of the present turn of the loop."""
        raise NotImplementedError

    def end_late(self) -> None:
        """End the connections whose deadline has passed."""
        now, host = self.now, self.host
        if now >= host.next_deadline:
            host.next_deadline = _NEVER
            for peer in list(self.peers.values()):
                if peer.connection.deadline <= now:
                    peer.on_deadline()
            host.next_deadline = min((connection.deadline for connection in self.peers), default=_NEVER)

    def relieve(self) -> None:
        """Close connections while all of them together hold too many bytes."""
        if self.host.held > self.host.limits.held:
            for connection in holding_most(self.peers, self.host.limits, now=self.now):
                self.closed["memory"] += 1
                self.peers[connection].close()

    def remove(self, connection: ServerConnection) -> None:
        """Forget a connection that is closed."""
        self.peers.pop(connection, None)


class Peer:
    """One accepted connection."""

    __slots__ = ("_server", "_socket", "_state", "_watched", "connection")
    read_size = 4 * 1024
    """Bytes read at once, and so of the requests that are answered before other connections have their turn."""
    sent_at_once = 1
    """Bytes of unsent output after which other connections have their turn; TLS takes a record of 16 KiB at a time."""
    would_block: tuple[type[OSError], ...] = (BlockingIOError,)
    """What the socket raises when there is nothing to read, or no room to write."""
    resets = False
    """Whether a connection that the client has not closed is closed by a reset, so that the kernel keeps nothing."""

    def __init__(self, server: Server, accepted: Socket, *, state: State = RECEIVING, source_address: str = "") -> None:
        self._server = server
        self._socket = accepted
        self._state = state
        self._watched = READ
        self.connection = ServerConnection(server.host, self, server.now, state=state, source_address=source_address)

    def on_ready(self, events: int = READ) -> None:
        """Serve the socket (called by the loop)."""
        if self._watched == READ:
            try:
                data = self._socket.recv(self.read_size)
            except self.would_block:
                return
            except OSError:
                data = b""
            if data:
                self._send(self.connection.receive(data, self._server.now))
            else:
                self._end_of_input()
        elif events & _GONE:
            self.close()
        elif self._watched == WRITE:
            self._flush()

    def on_deadline(self) -> None:
        """Act on the end of the time that the present state may take."""
        still_taken = self._state.limit == "linger" and is_stuck(self._socket)
        output = self.connection.expire(self._server.now, still_taken=still_taken)
        if output is None:
            self.close()
        else:
            self._send(output)

    def addresses(self) -> tuple[Address, Address]:
        """Return the addresses of this end and of the client. Raise OSError if the connection is gone."""
        return self._socket.getsockname(), self._socket.getpeername()

    def reply(self, response: Response) -> None:
        """Send the response that the application owes, if it still owes one."""
        connection = self.connection
        if connection.state is not CLOSED:
            self._send(connection.answer(response, self._server.now))
        elif connection.owes:  # the client did not wait
            connection.release()
            self._server.remove(connection)

    def begin(self, streamed: "StreamedResponse") -> None:
        """Send the head of a response that comes in pieces."""
        self._send(self.connection.begin(streamed, self._server.now))

    def write(self, data: bytes) -> bool:
        """Send a piece of the body; return whether more may follow before `Source.resume` is called."""
        self._send(self.connection.piece(data))
        return not self.connection.unsent

    def end(self) -> None:
        """Complete the response that came in pieces, and continue with what was requested meanwhile."""
        self._send(self.connection.end(self._server.now))

    def abort(self) -> None:
        """Close the connection so that the client cannot take what it has for the whole response."""
        self.close()

    def give_way(self) -> bool:
        """Close to make room for others once a request that is already here is answered; return whether it closed."""
        if self._watched == READ and self._state.limit != "linger":
            self.on_ready()
        if not self.connection.answering:
            self.close()
        return self.connection.state is CLOSED

    def finish(self) -> None:
        """Tell the client that nothing follows, and close the connection when the client has closed its end.

        Closing it at once would make the kernel reset it if the client has sent more than was read, and the client
        could lose the response (RFC 9112 §9.6).
        """
        self.connection.finish(self._server.now)
        self._send(b"")

    def close(self, *, client_closed: bool = False) -> None:
        """Close at once. A response that the application owes keeps its place among the server's connections."""
        connection = self.connection
        if connection.state is CLOSED:
            return
        source = connection.source
        whole = not connection.unsent and source is None and (client_closed or not self.resets)
        connection.close()
        self._state = CLOSED
        self._unwatch()
        if whole and not is_stuck(self._socket):
            self._socket.close()
        else:  # closed in good order, the kernel would keep what is unsent for minutes, and nobody counts it
            reset(self._socket)
        if source is not None:
            source.cancel()
        if not connection.owes:
            self._server.remove(connection)

    def _end_of_input(self) -> None:
        """Close, but not before the client has taken what the kernel has for it, or its time is over."""
        now = self._server.now
        if self.connection.may_still_take(now) and is_stuck(self._socket):
            self.connection.finish(now, client_closed=True)
            self._send(b"")
        else:
            self.close(client_closed=True)

    def _send(self, output: bytes) -> None:
        """Send `output`, leave to the connection what the socket does not take, and do what its state says."""
        connection = self.connection
        if output:
            sent = 0
            if not connection.unsent:
                try:
                    sent = self._socket.send(output)
                except self.would_block:
                    pass
                except OSError:
                    self.close()
                    return
            if sent < len(output):
                connection.keep_unsent(memoryview(output)[sent:], self._server.now)
                self._server.relieve()
        if connection.state is not self._state:
            self._enter(connection.state)
        elif not output:
            self._server.relieve()

    def _flush(self) -> None:
        connection, room = self.connection, self.sent_at_once
        try:
            while connection.unsent and room > 0:
                sent = self._socket.send(connection.unsent)
                del connection.unsent[:sent]
                room -= sent
        except self.would_block:
            return
        except OSError:
            self.close()
            return
        if not connection.unsent:
            self._send(connection.proceed(self._server.now))
            if connection.source is not None and not connection.unsent:
                connection.source.resume()

    def _enter(self, state: State) -> None:
        self._state = state
        if state.limit == "linger":
            try:
                self._hang_up()
            except OSError:
                self.close()
                return
        if state is FLUSHING:
            self._unwatch()  # that the client sends no more would be reported again and again
        elif state.waits_for != self._watched:
            self._watched = state.waits_for
            self._watch(state.waits_for)
        self._server.relieve()

    def _hang_up(self) -> None:
        """Close the sending half. Raise OSError if the connection is gone."""
        hang_up(self._socket)

    def _watch(self, events: int) -> None:
        """Have `on_ready` called for `events` (0: none), and no longer for others."""
        raise NotImplementedError

    def _unwatch(self) -> None:
        """Have `on_ready` called no more."""
        raise NotImplementedError
