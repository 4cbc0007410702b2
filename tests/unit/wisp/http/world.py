"""A server on a real loop with real sockets, a clock set by hand, and an application that tests control."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import uvloop

from wisp.http.asyncio_server import AsyncioServer
from wisp.http.connection import Application as Served
from wisp.http.connection import Limits
from wisp.http.epoll_server import READ, EpollServer, Loop
from wisp.http.messages import Reject, Request, Response
from wisp.http.peer import Server
from wisp.http.sockets import Socket, listen

_TURNS = 5000


class Clock:
    """A clock that advances only by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls = 0

    def __call__(self) -> float:
        """Return the present time."""
        self.calls += 1
        return self.now


class BusyLoop(Loop):
    """A loop that counts its calls, which tells when it has nothing left to do."""

    calls = 0

    def watch(self, descriptor: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Watch, and count."""

        def counted(ready: int) -> None:
            self.calls += 1
            callback(ready)

        super().watch(descriptor, counted, events)


class Application:
    """Answers with target and body: /later when `reply` is called, /big and /some with long bodies."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.rejects: list[Reject] = []
        self._owed: list[tuple[Request, Callable[[Response], None]]] = []

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | None:
        """Return the response, or keep `reply` for later."""
        self.asked.append(request)
        if request.target.startswith(b"/later"):
            self._owed.append((request, reply))
            return None
        return _echo(request)

    def rejected(self, reject: Reject) -> Response:
        """Return the reject's status and reason."""
        self.rejects.append(reject)
        return Response(reject.status, b'{"error":"%b"}' % reject.reason.encode())

    def reply(self, number: int = 0) -> None:
        """Answer the oldest pending request, or the `number`-th after it."""
        request, reply = self._owed.pop(number)
        reply(_echo(request))

    @property
    def pending_replies(self) -> int:
        """The number of pending answers."""
        return len(self._owed)


def _echo(request: Request) -> Response:
    size = {b"/big": 1 << 22, b"/some": 5000}.get(request.target, 0)
    return Response(200, request.target + request.body + b"." * size)


class Answer(NamedTuple):
    """A complete answer as the client read it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def answers(data: bytes, *, head: bool = False) -> list[Answer]:
    """Return the complete answers in `data`; answers to HEAD have no body."""
    found = []
    position = 0
    while (end := data.find(b"\r\n\r\n", position) + 4) > 3:
        line, *fields = data[position : end - 4].split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(b": ") for field in fields)}
        position = end + (0 if head else int(headers.get(b"content-length", b"0")))
        if position <= len(data):
            found.append(Answer(int(line.split(b" ")[1]), headers, data[end:position]))
    return found


class SocketEnd:
    """One end of a connection. It never blocks: what the kernel does not take waits until the next `move`."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.socket.settimeout(0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent is there when the world turns
        self.unsent = bytearray()
        self.received = bytearray()
        self.reading = True
        self.ended: str | None = None
        """How the other end ended the connection: "closed" or "reset"; None while it has not."""

    def send(self, data: bytes) -> None:
        """Send `data`, or as much as the kernel takes."""
        self.unsent += data
        self.push()

    def push(self) -> None:
        """Send what is still unsent."""
        try:
            while self.unsent:
                del self.unsent[: self.socket.send(self.unsent[: 1 << 18])]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent.clear()

    def pull(self) -> None:
        """Read what has arrived."""
        try:
            while self.reading and self.ended is None:
                data = self.socket.recv(1 << 18)
                self.received += data
                if not data:
                    self.ended = "closed"
        except BlockingIOError:
            pass
        except OSError:
            self.ended = "reset"

    def move(self) -> bool:
        """Send and read; return whether there was anything to do."""
        if self.socket.fileno() < 0:
            return False
        before = len(self.unsent), len(self.received), self.ended
        self.push()
        self.pull()
        return before != (len(self.unsent), len(self.received), self.ended)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Client(SocketEnd):
    """One connection to the server."""

    def __init__(self, port: int, *, buffer: int | None = None) -> None:
        """Connect. The kernel receives about `buffer` bytes for a client that does not read; by default, megabytes."""
        connected = socket.socket()
        if buffer is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connected.settimeout(5)
        try:
            connected.connect(("127.0.0.1", port))
        except OSError:
            connected.close()
            raise
        super().__init__(connected)

    @property
    def answers(self) -> list[Answer]:
        """Return the complete answers in `data`; answers to HEAD have no body."""
        return answers(bytes(self.received))


class World:
    """The epoll server with its loop, application and clients. `most` is the limit of connections."""

    resets = False
    """Whether the server closes connections by a reset that their clients have not closed."""
    server: Server

    def __init__(self, *, most: int = 1024) -> None:
        self.clock = Clock()
        self.application = Application()
        self.clients: list[Client] = []
        listener = listen("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self._begin(listener, Limits(connections=most))

    def _begin(self, listener: Socket, limits: Limits) -> None:
        """Make the loop and the server."""
        self.loop = BusyLoop(self.clock)
        self.server = self.epoll_server = EpollServer(listener, self._served(), self.loop, limits)

    def _served(self) -> Served:
        """Return what answers."""
        return self.application

    def _move(self) -> int:
        """Let everybody send and read; return how many did."""
        return sum(client.move() for client in self.clients)

    @classmethod
    @contextmanager
    def made(cls, *, most: int = 1024) -> Iterator["World"]:
        """Make a world and end it, whatever happens in it."""
        world = cls(most=most)
        try:
            yield world
        finally:
            world.close()

    def connect(self, data: bytes = b"", *, buffer: int | None = None, reading: bool = True) -> Client:
        """Return a new client that has sent `data`; see `Client` for `buffer`."""
        client = Client(self.port, buffer=buffer)
        client.reading = reading
        self.clients.append(client)
        client.send(data)
        return client

    def settle(self) -> None:
        """Turn until nobody has anything to do; a loop that turns for nothing never comes to that."""
        quiet = 0
        for _ in range(_TURNS):
            worked = self.turn(0.01 if quiet and self._under_way() else 0)
            moved = self._move()
            quiet = 0 if moved or worked else quiet + 1
            if quiet == 3:
                return
        raise AssertionError("the world does not come to rest")

    def turn(self, seconds: float) -> bool:
        """Let the loop turn, or wait for so long; return whether it had something to do."""
        before = self.loop.calls
        self.loop.turn(seconds)
        return self.loop.calls != before

    def _under_way(self) -> bool:
        """Say whether bytes are left to send: on a busy machine the kernel takes a moment to pass on what it has."""
        return any(connection.unsent for connection in self.server.peers) or any(
            client.unsent for client in self.clients
        )

    def after(self, seconds: float) -> None:
        """Let everything happen that happens now, then `seconds` pass, and what happens then."""
        self.settle()
        self.clock.now += seconds
        self.settle()

    def close(self) -> None:
        """Close every socket, and check that the server keeps nothing."""
        for client in self.clients:
            client.socket.close()
        self._end()

    def stop(self) -> None:
        """Let the server accept nothing more and finish what is in flight."""
        self.epoll_server.drain()

    @property
    def stopped(self) -> bool:
        """Whether that is done, or its time is over."""
        return not self.loop._running

    @property
    def watched(self) -> int:
        """How many descriptors the loop watches."""
        return len(self.loop._callbacks)

    def _end(self) -> None:
        self.epoll_server.close()
        self.loop.close()
        assert not self.loop._callbacks


class AsyncApplication:
    """The application as the asyncio server calls it: a late answer is a future."""

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self._application = application
        self._loop = loop
        self.rejected = application.rejected

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Return the response, or a future."""
        future: asyncio.Future[Response] = self._loop.create_future()
        answer = self._application.answer(
            request, lambda response: None if future.done() else future.set_result(response)
        )
        return future if answer is None else answer


class AsyncioWorld(World):
    """The same with the asyncio server on uvloop."""

    resets = True

    def _begin(self, listener: Socket, limits: Limits) -> None:
        self.turns = uvloop.new_event_loop()
        application = AsyncApplication(self.application, self.turns)
        self.asyncio_server = AsyncioServer(listener, application, limits=limits, clock=self.clock)
        self.server = self.asyncio_server
        self._run(self._open())

    async def _open(self) -> None:
        self.asyncio_server.open()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self.turns.run_until_complete(work)

    def turn(self, seconds: float) -> bool:
        """End who is late, and let the loop turn, or wait for so long; return whether it had something to do."""
        self.asyncio_server.end_late()
        before = self.clock.calls  # nothing is done without a look at the clock
        self._run(asyncio.sleep(seconds))
        return self.clock.calls != before

    def stop(self) -> None:
        """Let the server accept nothing more and finish what is in flight."""

        async def close() -> None:
            self.asyncio_server.close()

        self._run(close())

    @property
    def stopped(self) -> bool:
        """Whether nothing is left, now that the time is over."""
        self._run(self.asyncio_server.drain(0))
        return not self.server.peers

    @property
    def watched(self) -> int:
        """How many descriptors the loop watches."""
        return len(self.server.peers) + 1

    def _end(self) -> None:
        if not self.server.host.closing:
            self.stop()
        assert self.stopped
        self.turns.close()


WORLDS: dict[str, type[World]] = {"epoll": World, "asyncio": AsyncioWorld}
