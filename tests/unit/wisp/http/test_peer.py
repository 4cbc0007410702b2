"""One connection over a real socket: its answers, their order, its time limits and its end."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.cycles import counting_cycles
from tests.unit.wisp.http.hostile import ALL, Hostile
from tests.unit.wisp.http.wire import GET, NEXT, POST
from tests.unit.wisp.http.world import WORLDS, Client, World, answers
from wisp.http.connection import UNSENT_LIMIT
from wisp.http.messages import Request

LATER = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
SOME = b"GET /some HTTP/1.1\r\nHost: x\r\n\r\n"
SOME_AND_CLOSE = b"GET /some HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(name="world", params=WORLDS)
def _world(request: pytest.FixtureRequest) -> Iterator[World]:
    with WORLDS[request.param].made() as world:
        yield world


@pytest.fixture(name="epoll_world")
def _epoll_world() -> Iterator[World]:
    with World.made() as world:
        yield world


def numbered(number: int, where: bytes = b"") -> bytes:
    """Return a request that is distinguishable by number."""
    return b"GET %b/%d HTTP/1.1\r\nHost: x\r\n\r\n" % (where, number)


def bodies(client: Client) -> list[bytes]:
    """Return the bodies that the client received."""
    return [answer.body for answer in client.answers]


@pytest.mark.parametrize("hostile", ALL.values(), ids=ALL)
def test_hostile_request_gets_one_answer_and_ends_the_connection(world: World, hostile: Hostile) -> None:
    """What follows it is not served."""
    client = world.connect(NEXT + hostile.data + NEXT * 3)
    world.settle()
    first, reject = client.answers
    assert (first.status, reject.status) == (200, hostile.status)
    assert reject.headers[b"connection"] == b"close"
    assert client.ended == "closed"
    assert [request.target for request in world.application.asked] == [b"/next"]


class TestOrder:
    """Pipelined requests are answered in order."""

    def test_immediate_answers_are_sent_together(self, world: World) -> None:
        """In one packet, or nearly."""
        client = world.connect(b"".join(numbered(number) for number in range(300)))
        world.settle()
        assert bodies(client) == [b"/%d" % number for number in range(300)]

    def test_later_requests_wait_for_a_late_answer(self, world: World) -> None:
        """They stay unread by the application, as do requests that arrive meanwhile."""
        client = world.connect(numbered(1) + LATER + numbered(2))
        world.settle()
        client.send(numbered(3) + LATER + numbered(4))
        world.settle()
        assert (bodies(client), len(world.application.asked)) == ([b"/1"], 2)
        world.application.reply()
        world.settle()
        assert bodies(client) == [b"/1", b"/later", b"/2", b"/3"]
        world.application.reply()
        world.settle()
        assert bodies(client)[4:] == [b"/later", b"/4"]

    def test_waiting_request_is_not_held_in_memory(self, world: World) -> None:
        """The connection remembers only what the bytes of the answer depend on."""
        large = LATER.replace(b"/later", b"/later/" + b"l" * 4000).replace(
            b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"
        )
        client = world.connect(large)
        world.settle()
        (connection,) = world.server.peers
        source = connection.source_address
        assert connection._answering == Request(b"GET", b"", (), b"", http_1_0=False, keep_alive=True, source=source)
        world.application.reply()
        world.settle()
        assert bodies(client) == [b"/later/" + b"l" * 4000 + b"abc"]

    def test_waiting_client_does_not_delay_others(self, world: World) -> None:
        waiting = world.connect(LATER)
        world.settle()
        served = world.connect(numbered(1))
        world.settle()
        assert (bodies(waiting), bodies(served)) == ([], [b"/1"])


class TestSlowReaders:
    """Answers that the client does not read."""

    def test_unread_answers_stop_reading_requests(self, world: World) -> None:
        """A client that sends without reading fills the kernel's buffers and its own, not the server's memory."""
        client = Client(world.port)
        world.clients.append(client)
        client.reading = False
        count = 2_000  # of 4 KB each way: more than the kernel takes
        client.send(b"".join(numbered(number, b"/" * 4000) for number in range(count)))
        world.settle()
        (connection,) = world.server.peers
        assert client.unsent
        assert 0 < len(connection.unsent) < UNSENT_LIMIT + 8192
        assert len(connection._reader.buffer) <= 32 * 1024
        client.reading = True
        world.settle()
        assert [body[4000:] for body in bodies(client)] == [b"/%d" % number for number in range(count)]

    def test_client_that_does_not_read_is_closed_after_half_a_minute(self, world: World) -> None:
        client = world.connect()
        client.reading = False
        client.send(BIG)
        world.after(29.9)
        assert world.server.peers
        world.after(0.1)
        assert not world.server.peers

    def test_reading_slowly_does_not_extend_the_time_limit(self, world: World) -> None:
        """The half minute applies to all pending answers together."""
        client = world.connect(BIG * 4, buffer=1 << 16, reading=False)
        for _ in range(3):
            world.after(9)
            before = len(client.answers)
            for _ in range(100_000):  # far more turns than it takes: it only guards against hanging
                with contextlib.suppress(BlockingIOError):
                    client.received += client.socket.recv(1 << 16)  # a little at a time, or all answers may be read
                world.turn(0)
                if len(client.answers) > before:
                    break
            assert len(client.answers) == before + 1
        assert world.server.peers
        world.after(3)
        assert not world.server.peers

    @pytest.mark.parametrize("request_", [SOME, SOME_AND_CLOSE], ids=["keep-alive", "close"])
    def test_connection_closed_for_not_reading_leaves_no_data_in_the_kernel(
        self, world: World, request_: bytes
    ) -> None:
        """An orderly close would leave the answer in the kernel's memory."""
        client = world.connect(request_, buffer=1, reading=False)
        world.settle()
        (connection,) = world.server.peers
        assert not connection.unsent, "the kernel has taken the answer"
        for _ in range(121):
            world.after(1)
        assert not world.server.peers
        client.reading = True
        world.settle()
        assert client.ended == "reset"
        assert not client.answers

    def test_half_closed_client_that_does_not_read_still_counts_as_a_connection(self, world: World) -> None:
        """Otherwise the answers held by the kernel would be unbounded. Clients that read get theirs."""
        clients = [world.connect(SOME, buffer=1, reading=False) for _ in range(2)]
        world.settle()
        for client in clients:
            client.half_close()
        world.after(3)
        assert len(world.server.peers) == 2
        clients[0].reading = True
        for _ in range(27):
            world.after(1)
        assert [len(answer.body) for answer in clients[0].answers] == [len(b"/some") + 5000]
        assert clients[0].ended == "closed"
        assert not world.server.peers
        clients[1].reading = True
        world.settle()
        assert clients[1].ended == "reset"

    def test_late_reader_gets_the_complete_last_answer(self, world: World) -> None:
        """A connection that ends with an answer ends only when the answer has been read."""
        client = world.connect(SOME_AND_CLOSE, buffer=1, reading=False)
        for _ in range(20):
            world.after(1)
        client.reading = True
        world.settle()
        assert [len(answer.body) for answer in client.answers] == [len(b"/some") + 5000]
        assert client.ended == "closed"

    def test_reset_while_sending_ends_only_that_connection(self, world: World) -> None:
        client = world.connect()
        client.reading = False
        client.send(BIG)
        world.settle()
        client.vanish()
        world.settle()
        assert not world.server.peers

    def test_large_answer_arrives_complete(self, world: World) -> None:
        """4 MiB in as many pieces as the kernel takes, and the next request is served."""
        client = world.connect(BIG + NEXT)
        world.settle()
        assert [len(body) for body in bodies(client)] == [len(b"/big") + (1 << 22), len(b"/next")]


class TestTimes:
    """Time limits of a connection."""

    @pytest.mark.parametrize("part", [b"G", GET, POST + b"Content-Length: 3\r\n\r\nab"], ids=["byte", "head", "body"])
    def test_incomplete_request_gets_408_after_five_seconds(self, world: World, part: bytes) -> None:
        """The answer is JSON, and the connection ends."""
        client = world.connect(part)
        world.after(4.9)
        assert not client.received
        world.after(0.1)
        (answer,) = client.answers
        assert (answer.status, answer.headers[b"connection"]) == (408, b"close")
        assert answer.headers[b"content-type"].startswith(b"application/json")
        assert client.ended == "closed"

    def test_sending_slowly_does_not_extend_the_time_limit(self, world: World) -> None:
        """The five seconds count from the first byte."""
        client = world.connect()
        for byte in GET[:10]:
            assert not client.received
            client.send(bytes([byte]))
            world.after(0.5)
        assert [answer.status for answer in client.answers] == [408]

    def test_silent_new_connection_is_closed_after_five_seconds(self, world: World) -> None:
        """It is closed without an answer, also if it sent empty lines."""
        silent, blank = world.connect(), world.connect()
        for _ in range(10):
            blank.send(b"\r\n")
            world.after(0.5)
        assert {silent.ended, blank.ended} == {"reset" if world.resets else "closed"}
        assert not silent.received + blank.received

    def test_every_request_has_its_own_time_limit(self, world: World) -> None:
        """A connection on which requests follow each other stays open."""
        client = world.connect()
        for number in range(10):
            client.send(numbered(number)[:9])
            world.after(4)
            client.send(numbered(number)[9:])
            world.after(4)
        assert len(client.answers) == 10

    def test_idle_connection_is_closed_after_two_minutes(self, world: World) -> None:
        """Counted from the last answer; it is closed without an answer."""
        client = world.connect(numbered(1))
        world.after(100)
        client.send(numbered(2))
        world.after(119.9)
        assert client.ended is None
        world.after(0.1)
        assert client.ended == "closed"
        assert len(client.answers) == 2

    def test_empty_lines_do_not_extend_the_idle_time(self, world: World) -> None:
        """Nor do they start a request that could be late."""
        client = world.connect(numbered(1))
        world.settle()
        for _ in range(12):
            client.send(b"\r\n")
            world.after(9.9)
        assert client.ended is None
        world.after(2)
        assert client.ended == "closed"
        assert len(client.answers) == 1

    def test_complete_request_is_not_late_while_the_application_works(self, world: World) -> None:
        client = world.connect(LATER)
        world.after(1000)
        assert client.ended is None
        world.application.reply()
        world.settle()
        assert bodies(client) == [b"/later"]


class TestEnds:
    """How a connection ends."""

    @pytest.mark.parametrize(
        "request_, connection, ended",
        [
            (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"close", "closed"),
            (b"GET / HTTP/1.0\r\n\r\n", b"close", "closed"),
            (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"keep-alive", None),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None, None),
        ],
        ids=["1.1 close", "1.0", "1.0 keep-alive", "1.1"],
    )
    def test_connection_ends_when_the_client_asks_for_it(
        self, world: World, request_: bytes, connection: bytes | None, ended: str | None
    ) -> None:
        """RFC 9112 §9.3; nothing is served after that request."""
        client = world.connect(request_ + NEXT)
        world.settle()
        assert client.ended == ended
        assert len(client.answers) == (2 if ended is None else 1)
        assert client.answers[0].headers.get(b"connection") == connection

    @pytest.mark.parametrize("where", [b"", b"/later"])
    def test_half_closed_clients_get_their_answers(self, world: World, where: bytes) -> None:
        """A client may close its sending side before it has read anything."""
        client = world.connect(numbered(1, where) + numbered(2, where))
        client.half_close()
        world.settle()
        while world.application.pending_replies:
            world.application.reply()
            world.settle()
        assert bodies(client) == [where + b"/1", where + b"/2"]
        assert client.ended == "closed"
        assert not world.server.peers

    def test_half_closed_client_with_an_incomplete_request_gets_no_answer(self, world: World) -> None:
        client = world.connect(GET)
        client.half_close()
        world.settle()
        assert client.ended == "closed"
        assert not client.received

    def test_reset_client_counts_until_its_request_is_done(self, epoll_world: World) -> None:
        """Its socket is freed, but its work counts until it is done; otherwise that work would be unbounded.

        The asyncio server cancels the work instead.
        """
        world = epoll_world
        client = world.connect(LATER + NEXT)
        world.settle()
        client.vanish()
        world.settle()
        assert len(world.loop._callbacks) == 1  # the listener
        assert len(world.server.peers) == 1
        world.after(1000)
        world.application.reply()
        assert not world.server.peers
        assert len(world.application.asked) == 1

    def test_closed_client_is_noticed_when_answering(self, world: World) -> None:
        """A closed socket is indistinguishable from a half-closed one until the server writes."""
        client = world.connect(LATER)
        world.settle()
        client.socket.close()
        world.settle()
        world.application.reply()
        world.settle()
        assert not world.server.peers

    def test_reset_between_requests_ends_the_connection(self, world: World) -> None:
        client = world.connect(NEXT)
        world.settle()
        client.vanish()
        world.settle()
        assert not world.server.peers

    @pytest.mark.parametrize("size", [1_000, 400_000])
    def test_client_that_still_sends_can_read_the_rejection(self, world: World, size: int) -> None:
        """Closing with unread bytes would reset the connection and lose the answer."""
        client = world.connect(POST + b"Content-Length: 100000000\r\n\r\n" + b"b" * size)
        world.settle()
        assert [answer.status for answer in client.answers] == [413]
        assert client.ended == "closed"
        assert not client.unsent
        client.half_close()
        world.settle()
        assert not world.server.peers

    def test_rejected_connection_is_closed_after_a_second(self, world: World) -> None:
        """Whether the client still sends or not."""
        client = world.connect(POST + b"Content-Length: 100000000\r\n\r\n")
        for _ in range(10):
            client.send(b"b" * 1000)
            world.after(0.1)
        assert not world.server.peers


class TestRequestKinds:
    """Behaviour that depends on the kind of request."""

    def test_head_answer_has_the_length_and_no_body(self, world: World) -> None:
        """The next answer follows the head directly."""
        client = world.connect(b"HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n" + b"HEAD /later HTTP/1.1\r\nHost: x\r\n\r\n")
        world.settle()
        world.application.reply()
        world.settle()
        lengths = [answer.headers[b"content-length"] for answer in answers(bytes(client.received), head=True)]
        assert lengths == [b"5", b"6"]
        assert client.received.endswith(b"\r\n\r\n")

    def test_client_gets_100_continue_and_another_five_seconds(self, world: World) -> None:
        client = world.connect(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        world.settle()
        assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
        world.after(4.9)
        client.send(b"abc")
        world.settle()
        assert bodies(client) == [b"", b"/abc"]

    def test_other_expectations_are_rejected(self, world: World) -> None:
        client = world.connect(POST + b"Expect: tea\r\nContent-Length: 3\r\n\r\n")
        world.settle()
        assert [answer.status for answer in client.answers] == [417]


def test_connection_is_freed_without_the_garbage_collector(world: World) -> None:
    world.connect(NEXT)
    world.settle()
    with counting_cycles() as found:
        for data in (NEXT, b"x\n", LATER, GET):
            client = world.connect(data)
            world.settle()
            client.vanish()
            world.clients.remove(client)
            world.settle()
        world.application.reply()
        assert found() == 0
