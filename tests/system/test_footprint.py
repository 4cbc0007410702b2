"""Memory and round trips of a sidecar: the real process with a real authority."""

from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from bench.client import TOKEN, TOKEN_PATH, ask, offend, pour
from bench.compiled import compile_sidecar
from bench.processes import PROXY, Memory, Pod, Server, pod, sidecar

pytestmark = pytest.mark.long

MOST_RESIDENT, MOST_ANONYMOUS, MOST_GROWTH = 14.0, 7.0, 1.0
"""In MB of 1,000,000 bytes."""
MOST_CACHED = 2.0
"""MB that full caches take, with entries of the maximum length."""
REQUESTS = 200_000

GET = b"GET %b HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n%b\r\n"
MALFORMED = (
    b"\0" * 500 + b"\r\n\r\n",
    b"GET / HTTP/1.1\n\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"TOKEN / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /" + b"a" * 9000,
    GET % (b"/", b"x: %b\r\n" % (b"y" * 17_000)),
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + b"b" * 70_000,
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n" + b"c" * 0x8000 + b"\r\nx\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
)
BODY = b"POST %b HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\nContent-Length: 65536\r\n\r\n" + b"b" * 65536
CHUNKED = (
    b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n"
    + b"c" * 65536
    + b"\r\n0\r\n\r\n"
)


@pytest.fixture(name="surroundings", scope="module")
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    compile_sidecar()
    with pod(tmp_path_factory.mktemp("pod")) as new_pod:
        yield new_pod


@pytest.fixture(name="server")
def _server(surroundings: Pod) -> Iterator[Server]:
    """Run a sidecar that has its first token."""
    with sidecar(PROXY, surroundings.environment) as server:
        answer = ask(server.port)
        assert answer.status == 200, answer.body
        yield server


def test_memory_is_bounded_after_the_first_token(server: Server) -> None:
    """At most 14 MB are resident, and 7 MB of them private."""
    memory = Memory.of(server.pid)
    assert memory.resident <= MOST_RESIDENT, memory
    assert memory.anonymous <= MOST_ANONYMOUS, memory


def test_memory_does_not_grow_with_two_hundred_thousand_requests(server: Server) -> None:
    """The same request repeated leaves less than 1 MB behind."""
    before = Memory.of(server.pid)
    assert pour(server.port, repeat(TOKEN, REQUESTS)) == REQUESTS
    _assert_grown(server, before, MOST_GROWTH)


def test_memory_does_not_grow_with_two_hundred_thousand_different_requests(server: Server) -> None:
    """Ids, targets, resources and bodies differ in every request; some requests are malformed.

    They fill every cache past its bound, which takes memory once; from then on they leave less than 1 MB behind.
    """
    empty = Memory.of(server.pid)
    _send_different(server, range(20_000))
    _assert_grown(server, empty, MOST_CACHED)
    full = Memory.of(server.pid)
    _send_different(server, range(20_000, 20_000 + REQUESTS))
    _assert_grown(server, full, MOST_GROWTH)


def _send_different(server: Server, numbers: range) -> None:
    """Send different requests, one per number, and one malformed request per hundred."""
    heavy = numbers[: len(numbers) // 100]
    requests = chain(map(_resource, range(300)), map(_heavy, heavy), map(_light, numbers))
    assert pour(server.port, requests) == 300 + len(heavy) + len(numbers)
    for number in heavy:
        assert offend(server.port, MALFORMED[number % len(MALFORMED)]).startswith(b"HTTP/1.1 ")
    assert ask(server.port).status == 200


def _assert_grown(server: Server, before: Memory, most: float) -> None:
    after = Memory.of(server.pid)
    assert after.anonymous - before.anonymous < most, (before, after)
    assert after.resident - before.resident < most, (before, after)


def _light(number: int) -> bytes:
    kind, target = number // 1000 % 5, TOKEN_PATH.encode()
    if kind == 0:
        return GET % (target, b"x-ms-client-request-id: %08d-0000-4000-8000-000000000000\r\n" % number)
    if kind == 1:
        return GET % (target + b"&unknown=%d" % number, b"")
    if kind == 2:
        return GET % (b"/metadata/%d" % number, b"X: %b\r\n" % (b"y" * 800))
    if kind == 3:
        return GET % (b"/metadata/identity/oauth2/token?resource=%d" % number, b"")
    return GET % (b"/readyz?%d" % number, b"")


def _resource(number: int) -> bytes:
    """Request a token for the first time; every second request is for a resource that does not exist."""
    name = b"https://%s.example/%d" if number % 2 else b"https://management.azure.com/?%s%d"
    return GET % (TOKEN_PATH.encode().split(b"resource=")[0] + b"resource=" + name % (b"a" * 200, number), b"")


def _heavy(number: int) -> bytes:
    return (BODY if number % 2 else CHUNKED) % b"/%d" % number


def test_token_costs_one_round_trip(surroundings: Pod) -> None:
    """There is no discovery; a second request for the token costs nothing."""
    before = len(surroundings.round_trips())
    tenant = surroundings.environment["AZURE_TENANT_ID"]
    with sidecar(PROXY, surroundings.environment) as server:
        targets = [TOKEN_PATH, TOKEN_PATH, TOKEN_PATH.replace("management.azure.com", "vault.azure.net")]
        assert [ask(server.port, target).status for target in targets] == [200, 200, 200]
    assert surroundings.round_trips()[before:] == [f"POST /{tenant}/oauth2/v2.0/token"] * 2
