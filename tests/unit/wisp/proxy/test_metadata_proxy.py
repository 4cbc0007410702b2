"""Forwarding to a metadata service that the test plays: framing, faults, limits, and waiting clients."""

import os
import re
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import h11
import pytest

from tests.support.cycles import counting_cycles
from tests.unit.wisp.http.wire import cut
from tests.unit.wisp.http.world import Client, SocketEnd
from tests.unit.wisp.proxy.relayed import GET, OLD_GET, PLAIN, RelayWorld, client_answers
from wisp.proxy.metadata_proxy import ABSENCE, CONNECT_LIMIT, MOST, READ_LIMIT
from wisp.proxy.returned import MetadataEndpoint

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
POST = (
    b"POST /metadata/scheduledevents HTTP/1.1\r\nHost: x\r\nMetadata: true\r\nContent-Length: 65536\r\n\r\n"
    + b"e" * 65536
)
KEPT_OLD_GET = OLD_GET.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[RelayWorld]:
    with RelayWorld.between(tmp_path) as world:
        yield world


class TestCompleteResponses:
    """Responses that arrive complete."""

    def test_forwarded_request_bytes(self, world: RelayWorld) -> None:
        """One request written by the sidecar, after which the connection is closed."""
        client, served = world.forwarded()
        line, host, close, mark, *others = bytes(served.received).split(b"\r\n")
        assert (line, close) == (b"GET /metadata/instance HTTP/1.1", b"Connection: close")
        assert host == b"Host: 127.0.0.1:%d" % world.node.endpoint.port
        assert re.fullmatch(rb"x-wisp-passed: [0-9a-f]{16}", mark)
        assert others == [b"metadata: true", b"", b""]
        served.send(PLAIN)
        assert world.only_answer(client).body == b"abc"
        assert served.ended == "closed"
        assert world.metrics.requests["passed"] == 1
        assert [event["path"] for event in world.events("request passed")] == ["/metadata/instance"]

    @pytest.mark.parametrize(
        "answer, framing, body",
        [
            pytest.param(PLAIN, (b"content-length", b"3"), b"abc", id="a length"),
            pytest.param(PLAIN + b"more", (b"content-length", b"3"), b"abc", id="more than its length"),
            pytest.param(OK + b"Content-Length: 0\r\n\r\n", (b"content-length", b"0"), b"", id="nothing"),
            pytest.param(
                CHUNKED + b"2;a=b\r\nab\r\n1\r\nc\r\n0\r\nT: x\r\n\r\n",
                (b"transfer-encoding", b"chunked"),
                b"abc",
                id="chunks",
            ),
            pytest.param(CHUNKED + b"0\r\n\r\n", (b"transfer-encoding", b"chunked"), b"", id="no chunks"),
            pytest.param(b"HTTP/1.0 200 OK\r\n\r\nabc", (b"transfer-encoding", b"chunked"), b"abc", id="to the end"),
            pytest.param(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN,
                (b"content-length", b"3"),
                b"abc",
                id="after interim answers",
            ),
            pytest.param(
                OK + b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nabc",
                (b"content-length", b"3"),
                b"abc",
                id="with an offer to upgrade",
            ),
        ],
    )
    @pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
    def test_response_body_is_framed_by_length_or_chunks(
        self,
        world: RelayWorld,
        answer: bytes,
        framing: tuple[bytes, bytes],
        body: bytes,
        bytewise: bool,  # noqa: FBT001
    ) -> None:
        """A known length is preserved, everything else is sent in chunks; the connection continues."""
        client, served = world.forwarded()
        for piece in cut(answer, range(len(answer)) if bytewise else []):
            served.send(piece)
            world.settle()
        if served.ended is None:
            served.half_close()
        client.send(PING)
        world.settle()
        passed, pong = client_answers(client)
        assert (passed.status, passed.body, pong.body) == (200, body, b"pong")
        assert framing in passed.headers.items()
        assert b"date" in passed.headers
        assert b"connection" not in passed.headers

    @pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"], ids=["204", "304"])
    @pytest.mark.parametrize("extra", [b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"])
    def test_response_without_body_ignores_its_framing_headers(
        self, world: RelayWorld, status: bytes, extra: bytes
    ) -> None:
        """Whatever the head says and whatever follows it."""
        client, served = world.forwarded()
        served.send(b"HTTP/1.1 %b\r\n%b\r\nabc" % (status, extra))
        client.send(PING)
        world.settle()
        passed, pong = client_answers(client)
        assert (passed.status, passed.body, pong.body) == (int(status[:3]), b"", b"pong")
        assert not {b"content-length", b"transfer-encoding"} & set(passed.headers)

    @pytest.mark.parametrize(
        "request_, answer, connection, ended",
        [
            pytest.param(OLD_GET, PLAIN, b"close", "closed", id="a length"),
            pytest.param(KEPT_OLD_GET, PLAIN, b"keep-alive", None, id="a length, kept alive"),
            pytest.param(OLD_GET, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"close", "closed", id="chunks"),
            pytest.param(KEPT_OLD_GET, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"close", "closed", id="chunks, kept alive"),
        ],
    )
    def test_http_1_0_client_gets_no_chunks(
        self, world: RelayWorld, request_: bytes, answer: bytes, connection: bytes, ended: str | None
    ) -> None:
        """Without a known length the connection ends after the body."""
        client, served = world.forwarded(request_)
        served.send(answer)
        world.settle()
        head, _, body = bytes(client.received).partition(b"\r\n\r\n")
        assert body == b"abc"
        assert b"\r\nConnection: " + connection in head
        assert b"Transfer-Encoding" not in head
        assert client.ended == ended

    def test_only_headers_that_describe_the_response_are_returned(self, world: RelayWorld) -> None:
        client, served = world.forwarded()
        served.send(
            b"HTTP/1.1 429 Slow Down\r\nContent-Type: text/plain\r\nServer: IMDS\r\nRetry-After: 7\r\nX-Ms-A: b\r\n"
            b"Connection: close\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nLocation: /\r\n"
            b"Content-Length: 2\r\n\r\n{}"
        )
        answer = world.only_answer(client)
        assert answer.status == 429
        assert answer.headers.pop(b"date")
        assert answer.headers == {
            b"content-type": b"text/plain",
            b"server": b"IMDS",
            b"retry-after": b"7",
            b"x-ms-a": b"b",
            b"content-length": b"2",
        }

    def test_pipelined_requests_are_answered_in_order(self, world: RelayWorld) -> None:
        """The node gets one at a time."""
        client, served = world.forwarded(PING + GET + PING + GET + PING)
        assert [answer.body for answer in client_answers(client)] == [b"pong"]
        assert len(world.node.served) == 1
        served.send(PLAIN)
        world.settle()
        assert [answer.body for answer in client_answers(client)] == [b"pong", b"abc", b"pong"]
        world.node.served[1].send(CHUNKED + b"3\r\ndef\r\n0\r\n\r\n")
        world.settle()
        assert [answer.body for answer in client_answers(client)] == [b"pong", b"abc", b"pong", b"def", b"pong"]

    @staticmethod
    def posted(world: RelayWorld) -> tuple[Client, SocketEnd]:
        """Acknowledge with a long body, to a node that does not read yet: a part of it stays with the relay."""
        world.node.reads = False
        world.node.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client = world.connect(POST)
        while not world.passing._relays:
            world.loop.turn(0)
            client.push()
        (relay,) = world.passing._relays
        relay._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        world.settle()
        assert relay._unsent
        return client, world.node.served[-1]

    def test_request_body_of_64_kib_arrives_complete(self, world: RelayWorld) -> None:
        """However slowly the node reads."""
        client, served = self.posted(world)
        world.after(READ_LIMIT - 1)
        served.reading = True
        world.settle()
        assert served.received.endswith(b"\r\n\r\n" + b"e" * 65536)
        world.after(READ_LIMIT - 1)
        served.send(PLAIN)
        assert world.only_answer(client).body == b"abc"

    def test_early_response_of_the_node_is_returned(self, world: RelayWorld) -> None:
        """The node rejects the request without reading its whole body."""
        client, served = self.posted(world)
        served.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nabc")
        assert world.only_answer(client).status == 413


class TestFaults:
    """A node that sends faulty responses."""

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
            pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="another version"),
            pytest.param(b"RTSP/1.0 200 OK\r\n\r\n", id="a streaming camera"),
            pytest.param(b"\0" * 20_000, id="zeros"),
            pytest.param(b"HTTP/1.1 200 OK\n\n" + b"a" * 20_000, id="bare line feeds"),
            pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="a status of two digits"),
            pytest.param(b"HTTP/1.1 999 OK\r\n\r\n", id="an invalid status"),
            pytest.param(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="another protocol"),
            pytest.param(OK + b"A: b\r\n c\r\n\r\n", id="a folded header"),
            pytest.param(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", id="two framings"),
            pytest.param(OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", id="two lengths"),
            pytest.param(OK + b"Content-Length: -3\r\n\r\n", id="a negative length"),
            pytest.param(OK + b"Content-Length: 99999999999999999999\r\n\r\n", id="a length beyond 64 bits"),
            pytest.param(OK + b"Transfer-Encoding: gzip\r\n\r\n", id="another coding"),
            pytest.param(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", id="two codings"),
            pytest.param(OK + b"A: " + b"b" * 17_000, id="a head without end"),
            pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 700, id="interim answers without end"),
            pytest.param(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", id="a redirect"),
            pytest.param(CHUNKED + b"zz\r\n", id="an invalid chunk"),
        ],
    )
    def test_malformed_response_gives_502_with_the_reason(self, world: RelayWorld, answer: bytes) -> None:
        """In JSON, and the client's connection continues."""
        client, served = world.forwarded()
        served.send(answer)
        client.send(PING)
        world.settle()
        refused, pong = client_answers(client)
        assert (refused.status, refused.document["error"], pong.body) == (502, "bad_gateway", b"pong")
        assert "gave no usable answer" in refused.document["error_description"]
        assert world.causes() in (["malformed"], ["redirect"])
        assert served.ended is not None

    @pytest.mark.parametrize("node_bytes", [b"", b"HTTP/1.1 200", OK], ids=["nothing", "a word", "half a head"])
    @pytest.mark.parametrize("end", ["half_close", "vanish"])
    def test_connection_closed_before_the_head_gives_502(self, world: RelayWorld, node_bytes: bytes, end: str) -> None:
        """Whether the node closed it in order or reset it."""
        client, served = world.forwarded()
        served.send(node_bytes)
        world.settle()
        getattr(served, end)()
        assert world.only_answer(client).status == 502
        assert world.causes() == ["truncated"]

    @pytest.mark.parametrize("request_", [GET, OLD_GET], ids=["1.1", "1.0"])
    @pytest.mark.parametrize(
        "node_bytes",
        [
            pytest.param(OK + b"Content-Length: 9\r\n\r\nabc", id="a length"),
            pytest.param(CHUNKED + b"3\r\nabc\r\n", id="no last chunk"),
            pytest.param(CHUNKED + b"9\r\nabc", id="half a chunk"),
            pytest.param(CHUNKED + b"3\r\nabc\r\n0\r\nT: x", id="half a trailer"),
        ],
    )
    @pytest.mark.parametrize("fault", ["half_close", "vanish", "silence", "garbage"])
    def test_connection_closed_within_the_body_aborts_the_response(
        self, world: RelayWorld, request_: bytes, node_bytes: bytes, fault: str
    ) -> None:
        """Nothing that the client has could be mistaken for the complete response."""
        if fault == "garbage" and b"Content-Length" in node_bytes:
            node_bytes = CHUNKED + b"3\r\nabc\r\n"
        client, served = world.forwarded(request_)
        served.send(node_bytes)
        world.settle()
        if fault == "silence":
            world.after(READ_LIMIT)
        elif fault == "garbage":
            served.send(b"\0\r\n\r\n" * 10)
        else:
            getattr(served, fault)()
        world.settle()
        assert b"abc" in client.received
        assert client.ended == "reset"
        if request_ is GET or b"Content-Length" in node_bytes:
            with pytest.raises(h11.RemoteProtocolError):
                client_answers(client)
        assert len(world.causes()) == 1

    def test_reset_does_not_complete_a_body_that_ends_with_the_connection(self, world: RelayWorld) -> None:
        client, served = world.forwarded()
        served.send(OK + b"\r\nabc")
        world.settle()
        served.vanish()
        world.settle()
        assert client.ended == "reset"
        assert world.causes() == ["truncated"]

    def test_silent_node_gives_503_after_ten_seconds(self, world: RelayWorld) -> None:
        """The client may retry."""
        client, served = world.forwarded()
        world.after(READ_LIMIT - 0.1)
        assert not client.received
        served.send(OK)
        world.after(READ_LIMIT - 0.1)
        assert not client.received
        world.after(0.1)
        answer = world.only_answer(client)
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
        assert "nothing came for 10 s" in answer.document["error_description"]
        assert world.causes() == ["timeout"]
        assert served.ended == "closed"

    def test_slow_response_is_complete(self, world: RelayWorld) -> None:
        """A byte every nine seconds is enough."""
        client, served = world.forwarded()
        for byte in PLAIN:
            served.send(bytes([byte]))
            world.after(9)
        assert world.only_answer(client).body == b"abc"

    @pytest.mark.parametrize(
        "endless", [b"1;" + b"e" * 40_000, b"0\r\n" + b"T: x\r\n" * 8000], ids=["chunk", "trailers"]
    )
    def test_chunk_framing_of_a_response_is_bounded(self, world: RelayWorld, endless: bytes) -> None:
        """Extensions and trailers may take 16 KiB in total."""
        client, served = world.forwarded()
        served.send(CHUNKED + b"3\r\nabc\r\n" + endless)
        world.settle()
        assert client.ended == "reset"
        assert world.causes() == ["malformed"]

    def test_request_id_is_returned(self, world: RelayWorld) -> None:
        """Also with the sidecar's own errors."""
        client, served = world.forwarded(GET.replace(b"\r\n\r\n", b"\r\nx-ms-client-request-id: 1-2\r\n\r\n"))
        served.vanish()
        assert world.only_answer(client).headers[b"x-ms-client-request-id"] == b"1-2"


class TestMissingService:
    """Nodes without a metadata service."""

    def test_refused_connection_gives_503_and_is_cached_for_seconds(self, world: RelayWorld) -> None:
        port = world.node.endpoint.port
        world.node.socket.close()
        client = world.connect(GET)
        answer = world.only_answer(client)
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
        assert answer.document["error"] == "temporarily_unavailable"
        assert answer.document["error_description"] == (
            f"This node has no metadata service: the metadata service at 127.0.0.1:{port} cannot be connected to "
            "(connection refused)"
        )
        world.clock.now += ABSENCE - 0.1
        world.node.__init__(port)  # type: ignore[misc]  # it comes up
        world.settle()
        again = world.only_answer(world.connect(GET))
        assert (again.status, again.headers[b"retry-after"], again.document) == (503, b"1", answer.document)
        assert not world.node.served
        assert world.causes() == ["unreachable"] * 2

    def test_node_is_tried_again_after_the_cached_failure(self, world: RelayWorld) -> None:
        port = world.node.endpoint.port
        world.node.socket.close()
        world.only_answer(world.connect(GET))
        world.node.__init__(port)  # type: ignore[misc]
        world.after(ABSENCE)
        client, served = world.forwarded()
        served.send(PLAIN)
        assert world.only_answer(client).body == b"abc"

    def test_immediate_connect_error_gives_503(self, tmp_path: Path) -> None:
        with RelayWorld.between(tmp_path, MetadataEndpoint("255.255.255.255", 80)) as world:
            assert world.only_answer(world.connect(GET)).status == 503
            assert world.causes() == ["unreachable"]

    def test_connection_attempt_is_given_up_after_two_seconds(self, tmp_path: Path) -> None:
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            port = listener.getsockname()[1]
            for _ in range(4):  # fills its queue; what comes now the kernel drops
                waiting = stack.enter_context(socket.socket())
                waiting.settimeout(0)
                waiting.connect_ex(("127.0.0.1", port))
            world = stack.enter_context(RelayWorld.between(tmp_path, MetadataEndpoint("127.0.0.1", port)))
            client = world.connect(GET)
            world.after(CONNECT_LIMIT - 0.1)
            assert not client.received
            world.after(0.1)
            answer = world.only_answer(client)
            assert answer.status == 503
            assert "no connection within 2 s" in answer.document["error_description"]
            assert world.causes() == ["unreachable"]

    def test_exhausted_descriptors_give_503_until_some_are_free(self, world: RelayWorld) -> None:
        """This is not reported as the node's fault."""
        client = world.connect(PING)
        world.settle()
        lowest = os.open("/dev/null", os.O_RDONLY)
        os.close(lowest)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            client.send(GET)
            world.loop.turn(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        world.settle()
        assert [answer.status for answer in client_answers(client)] == [200, 503]
        client.send(GET)
        world.settle()
        world.node.served[0].send(PLAIN)
        world.settle()
        assert [answer.status for answer in client_answers(client)] == [200, 503, 200]
        assert world.causes() == ["exhausted"]


class TestConcurrency:
    """The number of concurrent requests."""

    def test_at_most_32_requests_are_forwarded_at_once(self, world: RelayWorld) -> None:
        """The next one gets 503 immediately, until another is done."""
        clients = [world.forwarded()[0] for _ in range(MOST)]
        refused = world.only_answer(world.connect(GET))
        assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
        assert len(world.node.served) == MOST
        world.node.served[7].send(PLAIN)
        assert world.only_answer(clients[7]).body == b"abc"
        client, served = world.forwarded()
        served.send(PLAIN)
        assert world.only_answer(client).body == b"abc"
        assert world.causes() == ["too_many"]

    def test_sequential_requests_of_a_client_use_one_slot(self, world: RelayWorld) -> None:
        clients = [world.forwarded(GET * 2)[0] for _ in range(MOST)]
        for number in range(2 * MOST):
            world.node.served[number].send(PLAIN)
            world.settle()
        assert all([answer.body for answer in client_answers(client)] == [b"abc", b"abc"] for client in clients)


class TestClients:
    """Clients that leave or do not read."""

    @pytest.mark.parametrize(
        "node_bytes",
        [b"", OK + b"Content-Length: 9\r\n\r\nabc", CHUNKED + b"3\r\nabc\r\n"],
        ids=["before", "length", "chunks"],
    )
    def test_reset_client_closes_the_nodes_connection(self, world: RelayWorld, node_bytes: bytes) -> None:
        """Immediately, and nothing stays in memory."""
        client, served = world.forwarded()
        served.send(node_bytes)
        world.settle()
        client.vanish()
        world.settle()
        assert served.ended is not None
        assert world.causes() == ["client_gone"]
        assert not world.server.peers

    def test_closed_client_is_noticed_when_writing(self, world: RelayWorld) -> None:
        """A closed socket is indistinguishable from a half-closed one until then."""
        client, served = world.forwarded()
        client.socket.close()
        for _ in range(3):
            served.send(CHUNKED + b"3\r\nabc\r\n" if served.ended is None and not world.events("x") else b"")
            world.settle()
        assert served.ended is not None
        assert not world.server.peers

    def test_half_closed_client_gets_its_answer(self, world: RelayWorld) -> None:
        client, served = world.forwarded()
        client.half_close()
        world.settle()
        served.send(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
        assert world.only_answer(client).body == b"abc"
        assert client.ended == "closed"

    @staticmethod
    def stuffed(world: RelayWorld, head: bytes, buffer: int | None = None) -> tuple[Client, SocketEnd]:
        """Let a node send 8 MB to a client that reads nothing, until nothing moves."""
        client = world.connect(GET, buffer=buffer, reading=False)
        world.settle()
        served = world.node.served[-1]
        served.send(head + b"b" * (8 << 20))
        world.settle()
        return client, served

    def test_slow_reader_slows_the_node_down(self, world: RelayWorld) -> None:
        """The rest is in the kernel, except for one read of the sidecar."""
        client, served = self.stuffed(world, OK + b"Content-Length: %d\r\n\r\n" % (8 << 20))
        (connection,) = world.server.peers
        assert served.unsent
        assert 0 < len(connection.unsent) <= 17 * 1024
        world.after(READ_LIMIT + 1)  # which is not the node's fault
        client.reading = True
        world.settle()
        assert client_answers(client)[0].body == b"b" * (8 << 20)
        assert not world.causes()

    def test_client_that_does_not_read_is_closed_after_half_a_minute(self, world: RelayWorld) -> None:
        """The node's connection, too."""
        client, served = self.stuffed(world, OK + b"\r\n")
        world.after(29.9)
        assert served.ended is None
        world.after(0.1)
        assert served.ended is not None
        client.reading = True
        world.settle()
        assert client.ended == "reset"
        assert world.causes() == ["client_gone"]

    @pytest.mark.system
    def test_reading_slowly_does_not_extend_the_time_limit(self, world: RelayWorld) -> None:
        """The half minute applies to the whole answer."""
        client, served = self.stuffed(world, OK + b"\r\n", buffer=1 << 16)
        for _ in range(3):
            world.after(9.9)
            received = len(client.received)
            while len(client.received) < received + (1 << 20):
                data = client.socket.recv(1 << 16)
                assert data
                client.received += data
                world.settle()
        assert served.ended is None
        world.after(0.3)
        assert served.ended is not None
        assert world.causes() == ["client_gone"]

    def test_node_lost_while_the_client_does_not_read_is_reported_later(self, world: RelayWorld) -> None:
        """It wakes nobody until the client has read."""
        client, served = self.stuffed(world, OK + b"Content-Length: %d\r\n\r\n" % (8 << 20))
        served.vanish()
        world.settle()  # which never comes to rest if it calls again and again
        assert client.ended is None
        client.reading = True
        world.settle()
        assert client.ended == "reset"
        assert world.causes() == ["truncated"]


class TestStopping:
    """A server that drains."""

    def test_draining_server_finishes_forwarded_requests(self, world: RelayWorld) -> None:
        """The answer says that it is the last."""
        client, served = world.forwarded()
        world.epoll_server.drain()
        world.settle()
        served.send(PLAIN)
        answer = world.only_answer(client)
        assert (answer.body, answer.headers[b"connection"]) == (b"abc", b"close")
        world.after(1)
        assert not world.loop._running

    @pytest.mark.parametrize("request_", [GET, OLD_GET], ids=["1.1", "1.0"])
    def test_forwarded_requests_are_aborted_when_the_drain_time_is_over(
        self, world: RelayWorld, request_: bytes
    ) -> None:
        client, served = world.forwarded(request_)
        served.send(CHUNKED + b"3\r\nabc\r\n")
        world.settle()
        world.epoll_server.drain()
        world.after(5)
        assert not world.loop._running
        world.epoll_server.close()
        world.settle()
        assert client.ended == "reset"


@pytest.mark.parametrize("node_bytes", [PLAIN, b"x\r\n\r\n", b"", CHUNKED + b"3\r\nabc\r\n"])
def test_forwarding_leaves_no_objects_behind(world: RelayWorld, node_bytes: bytes) -> None:
    """Relay, parser and peer are freed at the end, without the collector of cycles."""
    with counting_cycles() as found:
        for _ in range(2):  # the first of its kind loads and remembers things
            found()
            client, served = world.forwarded()
            served.send(node_bytes)
            world.settle()
            client.vanish()
            world.settle()
            world.clients.clear()
            served.socket.close()
            world.node.served.clear()
            del client, served
        assert found() == 0


@pytest.mark.parametrize("port, name", [(80, b"10.0.0.1"), (81, b"10.0.0.1:81")])
def test_host_header_has_the_port_unless_it_is_80(port: int, name: bytes) -> None:
    assert MetadataEndpoint("10.0.0.1", port).name == name
