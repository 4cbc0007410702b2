"""The epoll server with many connections: limits, eviction, exhausted resources and shutdown."""

import errno
import os
import resource
import select
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.needs import Missing, MissingSkip
from tests.support.waiting import wait_until
from tests.unit.wisp.http.wire import GET, NEXT, POST
from tests.unit.wisp.http.world import Application, BusyLoop, Client, Clock, World
from wisp.http.epoll_server import READ, WRITE, EpollServer, Loop
from wisp.http.sockets import Socket, packet_pair

LATER = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = BIG.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    with World.made() as world:
        yield world


@pytest.fixture(name="small")
def _small() -> Iterator[World]:
    """Create a world whose server accepts four connections."""
    with World.made(most=4) as world:
        yield world


def served(client: Client) -> bool:
    """Return whether the client has an answer and an open connection."""
    return bool(client.answers) and client.ended is None


class TestConnectionLimit:
    """The limit on the number of connections."""

    def test_longest_idle_connection_is_evicted(self, small: World) -> None:
        """Idle time counts from the last answer, not from the start. Each new connection evicts one."""
        clients = []
        for _ in range(4):
            clients.append(small.connect(NEXT))
            small.after(1)
        clients[0].send(NEXT)
        small.after(1)
        newcomer = small.connect(NEXT)
        small.settle()
        assert [client.ended for client in clients] == [None, "closed", None, None]
        assert served(newcomer)

    def test_new_connection_is_not_evicted_for_the_next_one(self, small: World) -> None:
        """A new connection is not the longest idle, though less time is left to it than to served ones."""
        old = [small.connect(NEXT) for _ in range(4)]
        small.after(100)
        first = small.connect()
        small.settle()
        second = small.connect()
        small.settle()
        first.send(NEXT)
        second.send(NEXT)
        small.settle()
        assert served(first)
        assert served(second)
        assert [client.ended for client in old].count("closed") == 2

    def test_connection_that_waits_for_the_application_is_not_evicted(self, small: World) -> None:
        """One new connection gets a place; the next waits in the kernel's queue until another has finished."""
        clients = [small.connect(LATER) for _ in range(4)]
        small.settle()
        clients.append(small.connect(LATER))
        small.settle()
        newcomer = small.connect(NEXT)
        small.after(1)
        assert small.application.pending_replies == 5
        assert not newcomer.received
        clients[2].vanish()
        small.settle()
        small.application.reply(2)
        small.after(0.1)
        assert newcomer.answers
        assert [client.ended for client in clients if client is not clients[2]] == [None] * 4

    @pytest.mark.parametrize("held", [b"", GET, BIG, CLOSE], ids=["silent", "asking", "not reading", "half read"])
    def test_longest_waiting_incomplete_request_is_evicted(self, small: World, held: bytes) -> None:
        """New clients are served however many connections are held open."""
        clients = []
        for _ in range(4):
            client = small.connect()
            client.reading = False
            client.send(held)
            clients.append(client)
            small.after(0.1)
        for number in range(3):
            newcomer = small.connect(NEXT)
            small.settle()
            assert newcomer.answers
            newcomer.send(LATER)  # else it would be idle, and the next to give way
            clients[number].reading = True
            small.after(0.1)
            assert clients[number].ended is not None
        assert clients[3].ended is None

    def test_arrived_request_is_answered_before_its_connection_is_evicted(self, small: World) -> None:
        """A client that reuses an idle connection at that moment gets its answer."""
        clients = [small.connect(NEXT) for _ in range(4)]
        small.settle()
        newcomer = small.connect(NEXT)
        for client in clients:
            client.send(NEXT)
        small.settle()
        assert served(newcomer)
        assert [len(client.answers) for client in clients] == [2] * 4
        assert [client.ended for client in clients].count("closed") == 1

    def test_new_client_is_answered_in_the_turn_it_is_accepted(self, world: World) -> None:
        """Earlier input of other clients does not delay it."""
        others = [world.connect(NEXT) for _ in range(400)]
        world.settle()
        for client in others:
            client.send(NEXT)
        newcomer = world.connect(NEXT)
        world.loop.turn(0)
        wait_until(lambda: newcomer.move() and newcomer.answers)
        assert served(newcomer)
        assert sum(client.move() for client in others) < 200

    def test_waiting_client_is_accepted_when_a_busy_connection_becomes_idle(self, small: World) -> None:
        clients = [small.connect(LATER) for _ in range(5)]
        small.settle()
        newcomer = small.connect(NEXT)
        small.after(1)
        assert not newcomer.received
        small.application.reply()
        small.after(0.2)
        assert served(newcomer)
        assert [client.ended for client in clients].count("closed") == 1

    def test_1024_connections_are_served(self) -> None:
        """The real limit: 1,024 connections stay, and the next one evicts the first."""
        with _descriptors(4096), World.made() as world:
            idle = world.connect(NEXT)
            world.after(1)
            first = world.connect()
            world.after(1)
            others = [world.connect() for _ in range(1022)]
            world.after(1)
            assert len(world.server.peers) == 1024
            newcomer = world.connect(NEXT)
            world.settle()
            for client in (idle, *others):
                client.send(NEXT)
            world.settle()
            assert first.ended == "closed"
            assert all(map(served, [newcomer, *others]))
            assert len(idle.answers) == 2


class TestMemory:
    """The limit on the memory that all connections hold."""

    @pytest.mark.parametrize(
        "held",
        [
            POST + b"Content-Length: 65536\r\n\r\n" + b"b" * 65_535,
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1000\r\n" + b"c" * 4096 + b"\r\n") * 15,
        ],
        ids=["bodies", "chunked bodies"],
    )
    def test_connections_that_hold_the_most_memory_are_closed(self, world: World, held: bytes) -> None:
        """The limit is 8 MiB. Connections that hold little, and new ones, are unaffected."""
        modest = world.connect(GET)
        world.settle()
        greedy = [world.connect(held) for _ in range(200)]
        world.settle()
        assert sum(connection.held for connection in world.server.peers) <= 8 * 1024 * 1024
        assert modest.ended is None
        assert 70 < [client.ended for client in greedy].count(None) < 140
        newcomer = world.connect(NEXT)
        world.settle()
        assert served(newcomer)
        modest.send(b"\r\n")
        world.settle()
        assert served(modest)

    def test_unread_answers_count_as_memory(self, world: World) -> None:
        """Three unread answers of 4 MiB exceed the limit: the longest waiting are closed and do not look complete."""
        clients = [world.connect(BIG, reading=False)]
        for _ in range(2):
            world.after(1)
            clients.append(world.connect(BIG, reading=False))
        world.settle()
        for client in clients:
            client.reading = True
        world.settle()
        assert [client.ended for client in clients] == ["reset", "reset", None]

    def test_memory_of_ended_connections_is_not_counted(self, world: World) -> None:
        held = POST + b"Content-Length: 65536\r\n\r\n" + b"b" * 1000
        for data in (held, held + b"b" * 64_536, BIG, GET, LATER + GET):
            world.connect(data, reading=data != BIG)
            world.settle()
        assert world.server.host.held > 0
        for client in world.clients:
            client.vanish()
        world.settle()
        world.application.reply()
        world.settle()
        assert not world.server.peers
        assert world.server.host.held == 0


@contextmanager
def _descriptors(soft: int) -> Iterator[None]:
    """Set the limit of file descriptors to `soft`."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < soft:
        raise MissingSkip(Missing(f"permission to open {soft} files", f"ulimit -Hn {soft}"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class FullListener:
    """A listener with a waiting client whose `accept` fails with `error`."""

    def __init__(self, error: int) -> None:
        self._event = os.eventfd(1)
        self._error = error
        self.tries = 0

    def fileno(self) -> int:
        """Return a descriptor that is always ready."""
        return self._event

    def _accept(self) -> tuple[int, object]:
        self.tries += 1
        raise OSError(self._error, os.strerror(self._error))

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self._event)


class TestExhaustion:
    """Errors that the kernel returns when a resource is exhausted."""

    def test_exhausted_descriptors_evict_idle_connections(self, world: World) -> None:
        """With no idle connection new clients wait; with descriptors again they are served."""
        idle = world.connect(NEXT)
        world.settle()
        clients = [world.connect(NEXT) for _ in range(3)]
        lowest = os.open("/dev/null", os.O_RDONLY)
        os.close(lowest)
        with _descriptors(lowest):
            world.settle()
        world.after(0.1)
        assert idle.ended == "closed"
        assert served(clients[2])

    @pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM], ids=errno.errorcode.get)
    def test_failed_accept_is_retried_every_tenth_of_a_second(self, error: int) -> None:
        """Nothing is evicted and the loop does not spin."""
        clock = Clock()
        loop = BusyLoop(clock)
        listener = FullListener(error)
        server = EpollServer(_socket_like(listener), Application(), loop)
        for _ in range(20):
            for _ in range(10):
                loop.turn(0)
            clock.now += 0.1
        assert 19 <= listener.tries <= 21
        server.close()
        loop.close()

    def test_client_that_left_before_accept_is_skipped(self) -> None:
        """The next client is accepted immediately."""
        loop = BusyLoop(Clock())
        listener = FullListener(errno.ECONNABORTED)
        server = EpollServer(_socket_like(listener), Application(), loop)
        for _ in range(5):
            loop.turn(0)
        assert listener.tries == 5
        server.close()
        loop.close()


def _socket_like(listener: FullListener) -> Socket:
    return listener  # type: ignore[return-value]  # as much of a socket as the server uses


class TestDrain:
    """The graceful shutdown."""

    def drained(self, world: World) -> bool:
        """Return whether the server has let the loop end."""
        return not world.loop._running

    def test_drain_without_connections_ends_at_once(self, world: World) -> None:
        world.epoll_server.drain()
        assert self.drained(world)

    def test_drain_closes_idle_connections(self, world: World) -> None:
        """Both those that have been served and those that have not."""
        clients = [world.connect(NEXT), world.connect()]
        world.settle()
        world.epoll_server.drain()
        world.settle()
        assert self.drained(world)
        assert [client.ended for client in clients] == ["closed", "closed"]

    def test_drain_accepts_no_new_connections(self, world: World) -> None:
        """A client should try elsewhere rather than wait."""
        waiting = world.connect(LATER)
        world.settle()
        world.epoll_server.drain()
        with pytest.raises(ConnectionRefusedError):
            world.connect()
        assert waiting.ended is None

    def test_drain_answers_waiting_requests_with_connection_close(self, world: World) -> None:
        """The loop ends after the last answer."""
        client = world.connect(LATER + NEXT)
        world.settle()
        world.epoll_server.drain()
        world.settle()
        assert not self.drained(world)
        world.application.reply()
        world.settle()
        assert [answer.headers[b"connection"] for answer in client.answers] == [b"close"]
        assert client.ended == "closed"
        client.socket.close()
        world.settle()
        assert self.drained(world)

    def test_drain_serves_a_partly_received_request(self, world: World) -> None:
        client = world.connect(NEXT[:20])
        world.settle()
        world.epoll_server.drain()
        client.send(NEXT[20:])
        world.settle()
        assert [answer.headers[b"connection"] for answer in client.answers] == [b"close"]

    def test_drain_serves_requests_sent_before_the_signal(self, world: World) -> None:
        """This includes an unread request and one of a connection not yet accepted."""
        accepted = world.connect(NEXT)
        world.settle()
        accepted.send(NEXT)
        queued = world.connect(NEXT)
        world.epoll_server.drain()
        world.settle()
        assert [answer.headers.get(b"connection") for answer in accepted.answers] == [None, b"close"]
        assert [answer.headers.get(b"connection") for answer in queued.answers] == [b"close"]

    def test_drain_finishes_sending_an_answer(self, world: World) -> None:
        """The answer arrives complete, and then the connection ends."""
        client = world.connect()
        client.reading = False
        client.send(BIG)
        world.settle()
        world.epoll_server.drain()
        client.reading = True
        world.settle()
        assert [len(answer.body) for answer in client.answers] == [len(b"/big") + (1 << 22)]
        assert client.ended == "closed"
        client.socket.close()
        world.settle()
        assert self.drained(world)

    @pytest.mark.parametrize("busy", [LATER, NEXT[:20]], ids=["waiting", "asking"])
    def test_drain_closes_remaining_connections_after_five_seconds(self, world: World, busy: bytes) -> None:
        client = world.connect(busy)
        world.settle()
        world.epoll_server.drain()
        world.after(4.9)
        assert not self.drained(world)
        world.after(0.1)
        assert self.drained(world)
        world.epoll_server.close()
        world.settle()
        assert client.ended is not None


def test_server_can_be_closed_without_draining(world: World) -> None:
    client = world.connect(LATER)
    world.settle()
    world.epoll_server.close()
    world.settle()
    assert client.ended is not None
    world.application.reply()
    assert not world.loop._callbacks


class Alarm:
    """A timed object that records when it was called."""

    def __init__(self, clock: Clock, at: float | None) -> None:
        self.clock = clock
        self.at = at
        self.rung: list[float] = []

    def due(self) -> float | None:
        """Return the single due time."""
        return self.at

    def tick(self) -> None:
        """Record the time of the call."""
        self.rung.append(self.clock())
        self.at = None


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="loop")
def _loop(clock: Clock) -> Iterator[Loop]:
    loop = Loop(clock)
    yield loop
    loop.close()


@pytest.fixture(name="pair")
def _pair() -> Iterator[tuple[Socket, Socket]]:
    pair = packet_pair()
    yield pair
    for end in pair:
        end.close()


def test_callback_receives_the_ready_events(loop: Loop, pair: tuple[Socket, Socket]) -> None:
    """It is called again as long as its descriptor stays ready."""
    received: list[int] = []
    loop.watch(pair[0].fileno(), received.append)
    loop.turn(0)
    assert received == []
    pair[1].send(b"x")
    loop.turn(0)
    loop.turn(0)
    assert received == [READ, READ]


def test_watched_events_can_be_changed(loop: Loop, pair: tuple[Socket, Socket]) -> None:
    """Events are changed in place. A hang-up is reported even to a callback that waits for nothing."""
    received: list[int] = []
    loop.watch(pair[0].fileno(), received.append)
    loop.change(pair[0].fileno(), WRITE)
    loop.turn(0)
    loop.change(pair[0].fileno(), 0)
    loop.turn(0)
    assert received == [WRITE]
    pair[1].close()
    loop.turn(0)
    assert received[1:] == [select.EPOLLHUP]


def test_forgotten_descriptors_are_not_called(loop: Loop) -> None:
    """This holds within the same turn, and forgetting a descriptor twice is harmless."""
    ends = [os.eventfd(1), os.eventfd(1)]
    received: list[int] = []

    def forget_both(_events: int) -> None:
        received.append(1)
        for end in ends:
            loop.forget(end)

    for end in ends:
        loop.watch(end, forget_both)
    loop.turn(0)
    loop.turn(0)
    assert received == [1]
    for end in ends:
        loop.forget(end)
        os.close(end)


@pytest.mark.parametrize("at, rung", [(1000.0, [1000.0]), (999.0, [1000.0]), (1000.1, []), (None, [])])
def test_timed_object_is_called_once_when_due(loop: Loop, clock: Clock, at: float | None, rung: list[float]) -> None:
    alarm = Alarm(clock, at)
    loop.add_timed(alarm)
    loop.turn(0)
    loop.turn(0)
    assert alarm.rung == rung


def test_next_due_time_bounds_the_wait(clock: Clock) -> None:
    """A turn without its own timeout ends when the next timer is due: at once here, or this test would hang."""
    loop = Loop(clock)
    alarms = [Alarm(clock, None), Alarm(clock, 2000.0), Alarm(clock, 1000.0)]
    for alarm in alarms:
        loop.add_timed(alarm)
    loop.turn()
    assert [alarm.rung for alarm in alarms] == [[1000.0]] * 3
    loop.close()


def test_timed_object_is_called_once_per_turn_until_removed(loop: Loop, clock: Clock) -> None:
    """It may have been added several times, and may remove itself while it is called."""

    class Once(Alarm):
        def tick(self) -> None:
            """Record the time of the call."""
            super().tick()
            loop.remove_timed(self)
            self.at = 1000.0

    first, second = Once(clock, 1000.0), Alarm(clock, 1000.0)
    for alarm in (first, first, second):
        loop.add_timed(alarm)
    loop.turn(0)
    loop.turn(0)
    assert [first.rung, second.rung] == [[1000.0], [1000.0]]


def test_run_ends_when_stopped(loop: Loop, pair: tuple[Socket, Socket]) -> None:
    """A callback may stop the loop; the current turn is finished first."""
    loop.watch(pair[0].fileno(), lambda _events: loop.stop())
    pair[1].send(b"x")
    loop.run()
