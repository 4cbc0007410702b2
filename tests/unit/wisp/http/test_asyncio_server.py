"""The asyncio server: limits of connections and memory, TLS handshakes, slow clients and shutdown."""

import asyncio
import contextlib
import gc
import resource
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from typing import cast

import pytest

from tests.support.waiting import PATIENCE, wait_until_async
from tests.unit.wisp.webhook.line import GET, LARGE, Client, Line, listening, presented
from tests.unit.wisp.webhook.process import SERVICE
from wisp.http.asyncio_server import _Pending
from wisp.http.connection import ACCEPTED, HANDSHAKE, IDLE, RECEIVING, Responder, ServerConnection
from wisp.http.messages import TEXT, Response
from wisp.http.peer import Peer

pytestmark = pytest.mark.anyio

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(name="anyio_backend")
def _anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run the tests on the webhook's event loop."""
    return "asyncio", {"use_uvloop": True}


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with listening() as line:
        client = await line.connect()
        client.send(GET % 1 + GET % 2 + GET % 3)
        assert [(await client.response())[1] for _ in range(3)] == [b"/1", b"/2", b"/3"]


async def test_many_pipelined_requests_do_not_delay_other_clients() -> None:
    """One of them is answered in each turn of the loop."""
    async with listening() as line:
        flood, client = await line.connect(), await line.connect()
        flood.send(GET % 1 * 400)
        await flood.response()
        await client.get(2)
        assert line.application.answered.index(b"/2") < 300


async def test_body_over_the_limit_is_rejected_before_it_arrives() -> None:
    """Its declared length suffices, and the connection ends."""
    async with listening() as line:
        client = await line.connect()
        client.send(POST % 300_001)
        assert (await client.response())[0] == 413
        assert await client.ended() == b""


async def test_chunked_body_is_rejected_when_it_passes_the_limit() -> None:
    """Nothing beyond the limit is held."""
    async with listening() as line:
        client = await line.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send((b"4000\r\n" + bytes(0x4000) + b"\r\n") * 20)
        assert (await client.response())[0] == 413


async def test_client_that_continues_sending_gets_its_rejection() -> None:
    """The connection is not reset while the client still sends."""
    async with listening() as line:
        client = await line.connect()
        client.send(POST % 10_000_000 + bytes(1_000_000))
        assert (await client.response())[0] == 413


async def test_slow_request_gets_408_after_ten_seconds() -> None:
    """However it trickles in."""
    async with listening() as line:
        client = await line.begin(b"GET")
        line.later(9.0)
        client.send(b" /")
        await wait_until_async(lambda: line.server.host.held == 5)
        line.later(0.9)
        assert len(line.server.peers) == 1
        line.later(0.1)
        assert (await client.response())[0] == 408


async def test_client_gone_at_its_deadline_does_not_affect_others() -> None:
    """Sending the 408 fails; the deadlines of other connections are still enforced."""
    async with listening() as line:
        gone = socket.create_connection(("127.0.0.1", line.server.port))
        gone.sendall(b"GET")
        await wait_until_async(lambda: line.server.host.held)
        client = await line.begin(b"GET")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        gone.close()
        line.later(10.0)  # before the listener has seen it
        assert (await client.response())[0] == 408


async def test_second_request_has_no_additional_time() -> None:
    """The start of a request that arrived with the previous one is not an idle connection."""
    async with listening() as line:
        client = await line.connect()
        client.send(GET % 1 + b"GET")
        await client.response()
        await wait_until_async(lambda: line.server.host.held)
        line.later(10.0)
        assert (await client.response())[0] == 408


async def test_empty_lines_do_not_prolong_a_connection() -> None:
    """Empty lines before a request are ignored."""
    async with listening() as line:
        client = await line.connect()
        for _ in range(20):
            if not client.writer.transport.is_closing():
                client.send(b"\r\n")
            await asyncio.sleep(0.001)
            line.later(9.0)
        assert await client.ended() == b""
        await wait_until_async(lambda: not line.server.peers)


async def test_idle_connection_ends_180_seconds_after_the_last_response() -> None:
    async with listening() as line:
        client = await line.connect()
        await client.get()
        line.later(179.0)
        await client.get()
        line.later(179.0)
        assert len(line.server.peers) == 1
        line.later(1.0)
        assert await client.ended() == b""


async def test_connection_limit_holds_and_closed_connections_do_not_count() -> None:
    async with listening(connections=3) as line:
        for number in range(30):
            client = await line.connect()
            if number % 2:
                await client.get()
            if number % 3 == 0:
                client.writer.transport.abort()
            assert len(line.server.peers) <= 3
        await line.clients[-1].get()
        for client in line.clients:
            client.writer.transport.abort()
        await wait_until_async(lambda: not line.server.peers)
        assert line.server.host.held == 0


async def test_handshakes_are_counted_and_make_room_for_each_other() -> None:
    """A real client's handshake succeeds among the others; a handshake has 5 seconds."""
    server, tls = presented()
    async with listening(connections=4, tls=server) as line:
        for _ in range(4):
            for _ in range(10):
                (await line.connect()).send(b"\x16\x03\x01")
                assert len(line.server.peers) <= 4
            await (await line.connect(tls=tls)).get()
        line.later(5.0)
        assert {connection.state for connection in line.server.peers} == {IDLE}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_started_handshake_is_not_displaced_by_silent_connections(version: ssl.TLSVersion) -> None:
    """A real client sends its first message immediately, and then has 5 seconds in all."""
    server, tls = presented(minimum="1.2")
    tls.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = tls.wrap_bio(incoming, outgoing, server_hostname=SERVICE)
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    async with listening(connections=4, tls=server) as line:
        client = await line.connect()
        client.send(outgoing.read())
        await wait_until_async(lambda: HANDSHAKE in {connection.state for connection in line.server.peers})
        line.now = 4.0
        for _ in range(40):
            (await line.connect()).send(b"\x16\x03\x01")
        incoming.write(await client.reader.read(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            half.do_handshake()
        client.send(outgoing.read())
        await wait_until_async(lambda: RECEIVING in {connection.state for connection in line.server.peers})
        line.later(1.0)
        assert RECEIVING in {connection.state for connection in line.server.peers}
        slow = await line.connect()
        slow.send(b"\x16")
        await wait_until_async(lambda: newest(line).since == line.now)
        line.later(5.0)
        assert ACCEPTED not in {connection.state for connection in line.server.peers}


async def test_incomplete_requests_displace_neither_idle_connections_nor_each_others_successors() -> None:
    """Attackers that reconnect when displaced only displace each other."""
    async with listening(connections=8) as line:
        persistent = await line.connect()
        await persistent.get()
        for number in range(60):
            line.now += 0.001
            await line.begin(b"GET /")
            if number % 10 == 0:
                genuine = await line.connect("127.0.0.2")
                await genuine.get()
                genuine.writer.close()
        await persistent.get()
        assert line.server.closed["connections"] > 40


async def test_idle_connections_do_not_displace_an_incomplete_request() -> None:
    """If idle connections fill all slots, only they make room."""
    async with listening(connections=4) as line:
        slow = await line.begin(b"GET /1 HTT")
        for _ in range(20):
            line.now += 0.001
            await (await line.connect("127.0.0.2")).get()
        slow.send(b"P/1.1\r\nHost: x\r\n\r\n")
        assert await slow.response() == (200, b"/1")


async def test_source_address_at_its_limit_displaces_its_own_connections() -> None:
    """Other sources are unaffected; without the limit it takes all slots."""
    async with listening(connections=100, per_source=2) as line:
        other = await line.begin(b"GET /", "127.0.0.2")
        mine = [await line.begin(b"GET /") for _ in range(5)]
        assert len(line.server.peers) == 3
        assert line.server.closed["source"] == 3
        for client in (mine[-1], other):
            client.send(b"1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.response())[0] == 200
    async with listening(connections=100) as line:
        for _ in range(10):
            await line.begin(b"GET /")
        assert len(line.server.peers) == 10


async def test_connections_accepted_in_one_turn_displace_each_other() -> None:
    """If more arrive than are accepted together, the last ones stay."""
    async with listening(connections=100, per_source=2) as line:
        waiting = [socket.create_connection(("127.0.0.1", line.server.port)) for _ in range(12)]
        await wait_until_async(lambda: line.server.closed["source"] == 10)
        assert len(line.server.peers) == 2
        waiting[-1].sendall(GET % 1)
        await wait_until_async(lambda: line.application.answered == [b"/1"])
        for connection in waiting:
            connection.close()


async def test_source_address_with_only_busy_connections_gets_no_more() -> None:
    """Requests in progress are not evicted."""
    async with listening(connections=100, per_source=2) as line:
        line.application.later = asyncio.get_running_loop().create_future()
        working = [await line.begin(POST % 2 + b"ab") for _ in range(2)]
        assert await (await line.connect()).ended() == b""
        line.application.later.set_result(Response(200, b"late", TEXT))
        assert [await client.response() for client in working] == [(200, b"late")] * 2


async def test_bodies_in_flight_are_bounded() -> None:
    """The longest waiting are evicted, and no small request is among them."""
    async with listening(connections=10, held=500_000) as line:
        small = await line.begin(POST % 10_000 + bytes(9_000))
        large = [await incomplete(line) for _ in range(12)]
        large[-1].send(bytes(50_000))
        assert (await large[-1].response())[0] == 200
        small.send(bytes(1_000))
        assert (await small.response())[0] == 200
        assert line.server.closed["memory"] == 10


async def incomplete(line: Line) -> Client:
    """Send most of a large request, and wait until it has arrived."""
    line.now += 0.001
    client = await line.connect()
    client.send(POST % 250_000 + bytes(200_000))
    await wait_until_async(lambda: newest(line).since == line.now and newest(line).held >= 200_000)
    assert line.server.host.held <= 500_000
    return client


def newest(line: Line) -> ServerConnection:
    """Return the server's side of the newest connection."""
    return max(line.server.peers, key=lambda connection: connection.since)


async def test_large_requests_being_answered_are_bounded_too() -> None:
    """A request that waits for the API server holds its body."""
    async with listening(connections=10, held=500_000) as line:
        line.application.later = asyncio.get_running_loop().create_future()
        waiting = []
        for _ in range(4):
            line.now += 0.001
            waiting.append(await line.begin(POST % 200_000 + bytes(200_000)))
            await wait_until_async(lambda: line.server.host.held % 200_000 < 1000)
        assert line.server.host.held <= 500_000
        line.application.later.set_result(Response(200, b"late", TEXT))
        assert await waiting[-1].response() == (200, b"late")


async def test_later_requests_are_not_read_while_a_response_is_pending() -> None:
    """What the client sends stays in the kernel, except for what arrived with the request."""
    async with listening(held=2**24) as line:
        line.application.later = asyncio.get_running_loop().create_future()
        client = await line.begin(GET % 1)
        client.send(GET % 2 * 100_000)
        for _ in range(50):
            await asyncio.sleep(0)
        assert line.server.host.held < 2 * 16 * 1024
        line.application.later.set_result(Response(200, b"late", TEXT))
        assert await client.response() == (200, b"late")
        assert await client.response() == (200, b"late")


@pytest.mark.system
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_a_slow_reader_gets_the_whole_response(*, secure: bool) -> None:
    """With Connection: close as well: the connection ends when all is sent, not when a timer of TLS expires."""
    server, tls = presented()
    go_on = threading.Event()

    def read() -> bytes:
        with socket.create_connection(("127.0.0.1", line.server.port), PATIENCE) as plain:
            connection = tls.wrap_socket(plain, server_hostname=SERVICE) if secure else plain
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            go_on.wait(PATIENCE)
            with connection, connection.makefile("rb") as file:
                return file.read()

    async with listening(held=2**24, tls=server if secure else None) as line:
        reading = asyncio.create_task(asyncio.to_thread(read))
        await wait_until_async(lambda: line.server.host.held > LARGE // 2)
        line.later(29.0)
        await asyncio.sleep(1.5)  # a transport of asyncio's would give up now; nothing else shows that it has not
        go_on.set()
        assert len((await reading).partition(b"\r\n\r\n")[2]) == LARGE


async def test_reader_is_disconnected_after_30_seconds() -> None:
    """Whatever it has read meanwhile."""
    async with listening(held=2**24) as line:
        await not_reading(line)
        line.later(30.0)
        assert not line.server.peers


async def test_unsent_responses_are_bounded() -> None:
    """The slowest readers are disconnected; clients that read are served."""
    async with listening(connections=20, held=3 * LARGE) as line:
        readers = [await not_reading(line) for _ in range(8)]
        assert line.server.host.held <= 3 * LARGE
        await (await line.connect()).get()
        readers[-1].writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await readers[-1].response())[1]) == LARGE


async def not_reading(line: Line) -> Client:
    """Request a large response without reading it, and wait until the server waits."""
    line.now += 0.001
    client = await line.connect()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await wait_until_async(
        lambda: line.server.peers and newest(line).since == line.now and newest(line).held > LARGE // 2
    )
    return client


async def test_slow_readers_do_not_keep_others_out() -> None:
    """When they hold all slots, the slowest makes room."""
    async with listening(connections=3, held=2**24) as line:
        for _ in range(3):
            await not_reading(line)
        await (await line.connect()).get()
        assert line.server.closed["connections"] == 1


async def test_slow_answer_delays_only_its_own_connection() -> None:
    async with listening() as line:
        line.application.later = later = asyncio.get_running_loop().create_future()
        client = await line.begin(GET % 1)
        line.application.later = None
        client.send(GET % 2)
        await (await line.connect()).get(3)
        later.set_result(Response(200, b"late", TEXT))
        assert await client.response() == (200, b"late")
        assert await client.response() == (200, b"/2")


async def test_half_closed_client_gets_its_answer() -> None:
    """Also if the answer takes time."""
    async with listening() as line:
        line.application.later = asyncio.get_running_loop().create_future()
        client = await line.begin(POST % 2 + b"ab")
        client.writer.write_eof()
        line.application.later.set_result(Response(200, b"late", TEXT))
        assert await client.response() == (200, b"late")


async def test_client_gets_100_continue_once() -> None:
    """It then has the usual time for the rest."""
    async with listening() as line:
        client = await line.connect()
        client.send(b"POST /9 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"ab")
        await wait_until_async(lambda: line.server.host.held)
        line.later(10.0)
        assert (await client.response())[0] == 408


async def test_stopping_server_answers_and_closes_connections() -> None:
    async with listening() as line:
        client, idle = await line.begin(b"GET /1 HTTP"), await line.connect()
        await idle.get()
        line.server.close()
        assert await idle.ended() == b""
        client.send(b"/1.1\r\nHost: x\r\n\r\n")
        assert b"Connection: close" in await client.ended()
        for connection in (client, idle):
            connection.writer.close()
        await line.server.drain(PATIENCE)
        assert not line.server.peers


@pytest.mark.system
@pytest.mark.parametrize("end", ["reset", "hang up", "rejected", "answered late"])
async def test_closed_connection_is_freed_without_the_garbage_collector(end: str) -> None:
    """Otherwise the memory of many closed connections would add up until a collection."""
    server, tls = presented()
    async with listening(tls=server) as line:
        client = await line.connect(tls=tls)
        gc.collect()
        gc.disable()
        try:
            if end == "answered late":
                line.application.later = asyncio.get_running_loop().create_future()
            client.send(b"GET\r\n\r\n" if end == "rejected" else GET % 1 if end == "answered late" else b"GET")
            await wait_until_async(lambda: line.server.host.held or line.application.answered or end == "rejected")
            if end == "answered late":
                line.later(30.0)
            elif end == "reset":
                line.server.peers[newest(line)].close()
            elif end == "rejected":
                await client.ended()
            client.writer.transport.abort()
            await wait_until_async(lambda: not line.server.peers)
            await wait_until_async(
                lambda: not any(isinstance(instance, (Peer, ServerConnection)) for instance in gc.get_objects())
            )
        finally:
            gc.enable()


@pytest.mark.parametrize("secured", [False, True], ids=["clear", "tls"])
async def test_reset_behind_unread_data_ends_the_connection(*, secured: bool) -> None:
    """It ends then, not at its deadline."""
    server, tls = presented()
    async with listening(tls=server if secured else None) as line:
        client = await line.connect(tls=tls if secured else None)
        await client.get()
        gone = client.writer.get_extra_info("socket")
        client.send(POST % 300_000 + bytes(50_000))  # more than is read at once
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await wait_until_async(lambda: not line.server.peers)


@pytest.mark.parametrize("secured", [False, True], ids=["clear", "tls"])
async def test_a_reset_while_a_response_is_unsent_ends_the_connection(*, secured: bool) -> None:
    """None of it is held, and its memory is no longer counted."""
    server, tls = presented()
    async with listening(held=2**24, tls=server if secured else None) as line:
        client = await line.connect(tls=tls if secured else None)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await wait_until_async(lambda: line.server.host.held > LARGE // 2)
        gone = client.writer.get_extra_info("socket")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await wait_until_async(lambda: not line.server.peers)
        assert line.server.host.held == 0


async def test_exhausted_descriptors_evict_connections() -> None:
    """The listener continues with fewer connections; it does not spin, and serves new clients."""
    async with listening(connections=1000) as line:
        with few_descriptors(spare=20):
            clients = []
            for _ in range(30):
                try:
                    clients.append(await line.connect())
                except OSError:  # the client's half, in this process as well
                    break
            await wait_until_async(lambda: line.server.closed["descriptors"])
            clients[-1].writer.transport.abort()
        await (await line.connect()).get()


@contextlib.contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Set the limit of open files of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as probe:
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno() + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("address", ["127.0.0.1", "::"], ids=["IPv4", "both families"])
async def test_request_says_where_it_comes_from(address: str) -> None:
    async with listening(address=address) as line:
        client = await line.connect("127.0.0.2")
        for data in (GET % 1, b"POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"):
            client.send(data)
            await client.response()
        assert line.application.sources == ["127.0.0.2"] * 2


async def test_answer_to_a_client_that_leaves_at_once_is_not_begun() -> None:
    """And Python does not warn of it."""
    begun = []

    async def answer() -> Response:
        begun.append(True)
        return Response(200, b"", TEXT)

    pending = _Pending(answer(), 0)
    pending.attach(cast("Responder", None))
    pending.cancel()
    await asyncio.sleep(0)
    assert not begun
    gc.collect()
