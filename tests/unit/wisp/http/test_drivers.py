"""Both servers over real sockets: the same bytes give the requests, answers and ends that the parser gives."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.wisp.http.hostile import ALL, Hostile
from tests.unit.wisp.http.oracle import theirs
from tests.unit.wisp.http.test_parser import pipelines
from tests.unit.wisp.http.wire import NEXT, cut, cut_points, outcome, streams
from tests.unit.wisp.http.world import WORLDS, World
from wisp.http.messages import Reject, Request

thorough = settings(
    deadline=None,
    max_examples=settings().max_examples // 2,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(name="world", params=WORLDS, scope="module")
def _world(request: pytest.FixtureRequest) -> Iterator[World]:
    with WORLDS[request.param].made() as world:
        yield world


def served(world: World, pieces: list[bytes]) -> tuple[list[Request], list[int], bool]:
    """Return the application's requests, the answers' statuses, and whether the connection ended."""
    application = world.application
    application.asked, application.rejects = [], []
    client = world.connect()
    for piece in pieces:
        client.send(piece)
        world.settle()
    statuses = [answer.status for answer in client.answers if answer.status != 100]
    asked = [request._replace(source="") for request in application.asked]  # which the parser does not know
    result = asked, statuses, client.ended is not None
    client.vanish()
    world.clients.remove(client)
    world.settle()
    assert world.server.host.held == 0
    return result


def expected(stream: bytes) -> tuple[list[Request], list[int], bool]:
    """Return the same as the parser reads the stream."""
    requests: list[Request] = []
    for event in outcome([stream]):
        if isinstance(event, Reject):
            return requests, [*[200] * len(requests), event.status], True
        requests.append(event)
        if not event.keep_alive:
            return requests, [200] * len(requests), True
    return requests, [200] * len(requests), False


def without_head(stream: bytes) -> bool:
    """Return whether no request is HEAD, which the test's client does not support."""
    return b"HEAD" not in stream and b"/later" not in stream


@pytest.mark.parametrize("size", [1 << 20, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("hostile", ALL.values(), ids=ALL)
def test_hostile_bytes_end_the_connection(world: World, hostile: Hostile, size: int) -> None:
    """The status is the documented one, and nothing after the bytes is served."""
    stream = NEXT + hostile.data + NEXT
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    requests, statuses, ended = served(world, pieces)
    assert ([request.target for request in requests], statuses, ended) == ([b"/next"], [200, hostile.status], True)


@thorough
@given(streams.filter(without_head), cut_points)
def test_any_bytes_are_served_as_the_parser_reads_them(world: World, stream: bytes, cut_points: list[int]) -> None:
    assert served(world, cut(stream, cut_points[:4])) == expected(stream)


@thorough
@given(pipelines.filter(without_head), st.lists(st.integers(0, 10_000), max_size=4))
def test_pipelined_requests_are_served_as_h11_reads_them(world: World, stream: bytes, cut_points: list[int]) -> None:
    """In order, with one answer each."""
    requests, statuses, ended = served(world, cut(stream, cut_points))
    theirs_read, rejected = theirs(stream)
    comparable = requests[: len(theirs_read)]  # h11 ends a connection of HTTP/1.0, though it be kept alive
    assert [(one.method, one.target, one.body) for one in comparable] == [
        (one.method, one.target, one.body) for one in theirs_read
    ]
    assert len(requests) == len(theirs_read) or theirs_read[-1].http_1_0
    assert statuses == [200] * len(requests)
    assert not rejected
    assert ended == (not requests[-1].keep_alive)
