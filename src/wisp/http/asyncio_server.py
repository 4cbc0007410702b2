"""Serves connections on asyncio's event loop, over TLS or in the clear.

OpenSSL reads from the sockets itself. asyncio's TLS transport hides handshakes, gives up unsent data when its shutdown
timer ends, and keeps a read buffer of 256 KiB and two memory BIOs for each connection, which a client can fill and
which are freed only with the connection.
"""

import asyncio
import inspect
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from wisp.base.errors import SettingError
from wisp.http.connection import (
    ACCEPTED,
    CLOSED,
    READ,
    RECEIVING,
    WRITE,
    Limits,
    Responder,
    ServerConnection,
    Source,
)
from wisp.http.eviction import Reason, longest_waiting
from wisp.http.messages import Reject, Request, Response
from wisp.http.peer import Peer, Server
from wisp.http.sockets import EXHAUSTED, PAUSE, Socket, accept, listen

_SWEEP = 1.0
"""Seconds between looks at the deadlines of connections."""
_AT_ONCE = 16
"""Most connections accepted in one turn of the loop: those that exist can go on before newcomers displace them."""


class AsyncApplication(Protocol):
    """What answers requests."""

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Return the response, or what will give it."""

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are not a request."""


class _Pending:
    """The source of a response that the application awaits."""

    def __init__(self, answer: Awaitable[Response], held: int) -> None:
        self.held = held
        self._answer = answer
        self._task: asyncio.Task[None] | None = None

    def attach(self, responder: Responder) -> None:
        self._task = asyncio.ensure_future(self._reply(responder))

    async def _reply(self, responder: Responder) -> None:
        response = await self._answer
        self._task = None
        responder.reply(response)

    def resume(self) -> None:
        pass

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None  # it would keep the connection alive until the garbage collector runs
            if inspect.iscoroutine(self._answer) and inspect.getcoroutinestate(self._answer) == inspect.CORO_CREATED:
                self._answer.close()  # the task ends without having begun it, of which Python would warn


class _Adapter:
    """Gives an AsyncApplication the interface that connections know."""

    def __init__(self, application: AsyncApplication) -> None:
        self._answer = application.answer
        self.rejected = application.rejected

    def answer(self, request: Request, _reply: Callable[[Response], None]) -> Response | Source:
        answer = self._answer(request)
        return answer if isinstance(answer, Response) else _Pending(answer, len(request.body))


class AsyncioPeer(Peer):
    """A connection that an asyncio loop watches."""

    __slots__ = ("_loop", "_reading", "_writing")
    read_size = 16 * 1024  # the most that a TLS record holds (RFC 8446 §5.1), so none stay behind in OpenSSL
    sent_at_once = 256 * 1024
    resets = True
    would_block = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

    def __init__(
        self, server: Server, accepted: Socket, loop: asyncio.AbstractEventLoop, *, source_address: str = ""
    ) -> None:
        state = ACCEPTED if isinstance(accepted, ssl.SSLSocket) else RECEIVING
        super().__init__(server, accepted, state=state, source_address=source_address)
        self._loop = loop
        self._reading = self._writing = False
        self._watch(READ)

    def on_ready(self, events: int = READ) -> None:
        """Serve the socket, or continue the TLS handshake (called by the loop)."""
        if self._state.limit == "handshake":
            self._shake_hands()
            return
        reads = self._watched == READ
        super().on_ready(events)
        # uvloop stops watching a socket when its reset arrives, and data that came before can still be unread.
        if reads and self._state is not CLOSED and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            self.close()

    def _shake_hands(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)  # noqa: S101 -- others begin in another state
        now = self._server.now
        try:
            self._socket.do_handshake()
            self.connection.shake_hands(now, done=True)
        except ssl.SSLWantReadError:
            if self._socket.shared_ciphers() is None:  # known from the client's first message (RFC 8446 §4.1.2)
                return
            self.connection.shake_hands(now, done=False)
        except ssl.SSLError:
            self.finish()  # not a reset, by which the client could lose the alert that says what is wrong
            return
        except OSError:
            self.close()
            return
        self._send(b"")

    def _hang_up(self) -> None:
        """Say that nothing follows. What the client still sends is received undecrypted."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.version() is not None:
            with suppress(ssl.SSLWantReadError):  # close_notify is sent; the client's need not come (RFC 8446 §6.1)
                self._socket.unwrap()
        super()._hang_up()

    def _watch(self, events: int) -> None:
        descriptor = self._socket.fileno()
        if (events == READ) != self._reading:
            self._reading = events == READ
            if self._reading:
                self._loop.add_reader(descriptor, self.on_ready)
            else:
                self._loop.remove_reader(descriptor)
        if (events == WRITE) != self._writing:
            self._writing = events == WRITE
            if self._writing:
                self._loop.add_writer(descriptor, self.on_ready)
            else:
                self._loop.remove_writer(descriptor)

    def _unwatch(self) -> None:
        self._watch(0)


class AsyncioServer(Server):
    """Serve `application` to the clients of `listener`, from `open` to `close`. `clock` returns steady seconds."""

    def __init__(
        self,
        listener: Socket,
        application: AsyncApplication,
        *,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(_Adapter(application), limits)
        self._listener = listener
        self._clock = clock
        self._tls = tls
        self._sources: dict[str, int] = {}
        self._resume: asyncio.TimerHandle | None = None

    @property
    def now(self) -> float:
        """Seconds of the clock."""
        return self._clock()

    @property
    def port(self) -> int:
        """The port on which it listens."""
        number: int = self._listener.getsockname()[1]
        return number

    def open(self) -> None:
        """Accept connections from now on."""
        self._resume = None
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept nothing more; what is under way is finished, and idle connections end."""
        self.host.closing = True
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        if self._resume is not None:
            self._resume.cancel()
        self._listener.close()
        self.end_idle()

    def end_idle(self) -> None:
        """End the connections on which nothing is under way."""
        for peer in [peer for peer in self.peers.values() if peer.connection.quiet]:
            peer.finish()

    async def drain(self, seconds: float) -> None:
        """Wait until no connection is left, `seconds` at most; then close the rest."""
        until = self.now + seconds
        while self.peers and self.now < until:
            await asyncio.sleep(0.02)
            self.end_idle()
            self.end_late()
        for peer in list(self.peers.values()):
            peer.close()

    def remove(self, connection: ServerConnection) -> None:
        """Forget a connection that is closed."""
        super().remove(connection)
        address = connection.source_address
        self._sources[address] -= 1
        if not self._sources[address]:
            del self._sources[address]

    def _accept(self) -> None:
        victims: dict[str | None, list[ServerConnection]] = {}
        for _ in range(_AT_ONCE):
            try:
                accepted, address = accept(self._listener)
            except BlockingIOError:
                return
            except OSError as error:  # any other error is the connection's: the client has gone
                if error.errno in EXHAUSTED and not self._displace(None, "descriptors", victims):
                    self._pause()
                return
            address = address.removeprefix("::ffff:")  # an IPv4 client of a socket that takes both
            if self._has_room(address, victims):
                self._serve(accepted, address)
            else:
                accepted.close()

    def _has_room(self, address: str, victims: dict[str | None, list[ServerConnection]]) -> bool:
        """Return whether a connection from `address` can be accepted, having closed another for it if necessary."""
        limits = self.host.limits
        if limits.per_source and self._sources.get(address, 0) >= limits.per_source:
            return self._displace(address, "source", victims)
        return len(self.peers) < limits.connections or self._displace(None, "connections", victims)

    def _displace(self, address: str | None, reason: Reason, victims: dict[str | None, list[ServerConnection]]) -> bool:
        """Close the connection that must make room, of `address` if it is not None; return whether there is one.

        `victims`: which are the next in this turn of the loop, by address.
        """
        chosen = [one for one in victims.get(address, ()) if one.state is not CLOSED]
        if not chosen:
            candidates = [one for one in self.peers if address in (None, one.source_address)]
            chosen = longest_waiting(candidates, _AT_ONCE)
        victims[address] = chosen[1:]
        if chosen:
            self.peers[chosen[0]].close()
        if chosen or reason != "descriptors":
            self.closed[reason] += 1
        return bool(chosen)

    def _serve(self, accepted: Socket, address: str) -> None:
        try:
            if self._tls is not None:
                plain = socket.socket(accepted.family, accepted.type, accepted.proto, accepted.detach())
                plain.settimeout(0)
                accepted = plain
                accepted = self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            peer = AsyncioPeer(self, accepted, asyncio.get_running_loop(), source_address=address)
        except OSError:  # the client has gone
            accepted.close()
            return
        self.peers[peer.connection] = peer
        self._sources[address] = self._sources.get(address, 0) + 1

    def _pause(self) -> None:
        """Leave the queue alone for a moment: the loop would call again at once, and again."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener.fileno())
        self._resume = loop.call_later(PAUSE, self.open)


def bind(address: str, port: int, *, buffer: int = 64 * 1024) -> Socket:
    """Return a listening socket; `address` may be of either family, `::` takes both. Raise SettingError.

    The kernel holds about `buffer` bytes of each connection in each direction; by default it would hold several MiB.
    """
    try:
        return listen(address, port, buffer=buffer, segment=None, backlog=4096)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingError(
            f"cannot listen on port {port} of {address!r}: {reason}", hint="choose another address or port"
        ) from None


async def keep_deadlines(servers: Sequence[AsyncioServer]) -> None:
    """End late connections, indefinitely."""
    while True:
        await asyncio.sleep(_SWEEP)
        for server in servers:
            server.end_late()
