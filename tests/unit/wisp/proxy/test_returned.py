"""Why a forwarded request came back to a sidecar: the causes are distinguished with real connections."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.wisp.http.world import Client
from tests.unit.wisp.proxy.relayed import RelayWorld
from wisp.imds.passthrough import MARK
from wisp.proxy.returned import Evidence, MetadataEndpoint, refusal_of, uid_of

IMDS = MetadataEndpoint("169.254.169.254", 80)
HERE, SENDER = ("127.0.0.1", 8000), ("10.77.0.2", 41234)


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[RelayWorld]:
    with RelayWorld.between(tmp_path) as world:
        yield world


@pytest.mark.parametrize(
    "evidence, named, unnamed",
    [
        pytest.param(
            Evidence(IMDS, own=True, uid=1000, here=HERE, sender=SENDER, direct=True),
            ("uid 1000", "--proxy-uid 1000", "169.254.169.254:80"),
            ("Istio", "mesh"),
            id="caught by the redirect",
        ),
        pytest.param(
            Evidence(IMDS, own=True, uid=1501, here=HERE, sender=SENDER, sender_uid=1337),
            (
                "uid 1337",
                "10.77.0.2:41234",
                "traffic.sidecar.istio.io/excludeOutboundIPRanges: 169.254.169.254/32",
                "config.linkerd.io/skip-subnets: 169.254.169.254/32",
                'config.linkerd.io/skip-outbound-ports: "80"',
            ),
            ("1501", "--proxy-uid"),
            id="sent back by another process",
        ),
        pytest.param(
            Evidence(IMDS, own=True, uid=1501, here=HERE, sender=SENDER),
            ("10.77.0.2:41234", "not in this network namespace", "excludeOutboundIPRanges"),
            ("--proxy-uid",),
            id="sent back from elsewhere",
        ),
        pytest.param(
            Evidence(IMDS, own=True, uid=1501), ("another process", "Istio"), ("--proxy-uid",), id="gone meanwhile"
        ),
        pytest.param(
            Evidence(MetadataEndpoint(*HERE), own=True, uid=1501, here=HERE, sender=("127.0.0.1", 4), direct=True),
            ("--metadata-endpoint 127.0.0.1:8000", "the sidecar itself"),
            ("--proxy-uid", "Istio"),
            id="its own address",
        ),
        pytest.param(
            Evidence(IMDS, own=False, uid=1501),
            (MARK.decode(), "another sidecar", "--metadata-endpoint"),
            ("uid", "Istio"),
            id="of another sidecar",
        ),
    ],
)
def test_each_cause_is_reported_with_its_hint(
    evidence: Evidence, named: tuple[str, ...], unnamed: tuple[str, ...]
) -> None:
    """The answer names nothing that is not wrong."""
    refuse = refusal_of(evidence)
    assert (refuse.status, refuse.error) == (508, "loop_detected")
    assert all(text in refuse.description for text in named)
    assert not any(text in refuse.description for text in unnamed)


def _sent_back(world: RelayWorld, request: bytes) -> Client:
    """Send the request that the node received back to the sidecar on another connection."""
    return world.connect(request)


def test_request_sent_back_by_another_process_is_recognised(world: RelayWorld) -> None:
    """By the user of its connection, which the kernel gives."""
    client, served = world.forwarded()
    returned = _sent_back(world, bytes(served.received))
    answer = world.only_answer(returned)
    assert (answer.status, answer.document["error"]) == (508, "loop_detected")
    assert f"a process of uid {os.getuid()} in this pod, at 127.0.0.1:" in answer.document["error_description"]
    assert world.metrics.requests["refused"] == 1
    (logged,) = world.events("request refused")
    assert logged["reason"] == answer.document["error_description"]
    assert logged["status"] == 508
    assert not client.received


def test_request_of_another_sidecar_is_rejected(world: RelayWorld) -> None:
    """Its mark differs; it is rejected however it came."""
    forged = _sent_back(world, b"GET /metadata/instance HTTP/1.1\r\nHost: x\r\nx-wisp-passed: 1\r\n\r\n")
    answer = world.only_answer(forged)
    assert answer.status == 508
    assert "another sidecar" in answer.document["error_description"]
    assert not world.node.served


def test_client_that_left_before_the_answer_is_skipped(world: RelayWorld) -> None:
    """Later requests are served."""
    _client, served = world.forwarded()
    returned = _sent_back(world, bytes(served.received))
    returned.socket.close()
    world.settle()
    assert world.only_answer(world.connect(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")).body == b"pong"


def test_requests_after_a_returned_one_are_answered_in_order(world: RelayWorld) -> None:
    """On the same connection, with the id of each."""
    _client, served = world.forwarded()
    request = bytes(served.received).replace(b"Connection: close", b"x-ms-client-request-id: an-id")
    returned = _sent_back(world, request + b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    world.settle()
    first, second = returned.received.split(b"pong")[0].split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"508 Loop Detected")
    assert b"x-ms-client-request-id: an-id\r\n" in first
    assert second.startswith(b"200 OK")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "mapped into IPv6"])
def test_user_of_a_connection_is_read_from_the_kernels_tables(family: socket.AddressFamily) -> None:
    """Those of this network namespace."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(family) as client:
        address = listener.getsockname()
        client.connect(address if family == socket.AF_INET else (f"::ffff:{address[0]}", address[1]))
        port = client.getsockname()[1]
        assert uid_of(("127.0.0.1", port)) == os.getuid()
        assert uid_of(("127.0.0.2", port)) is None
    assert uid_of(address) is None
