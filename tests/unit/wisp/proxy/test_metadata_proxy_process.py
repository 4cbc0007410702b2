"""Forwarding by the real process: large responses in little memory, itself as the node, and no node."""

import http.client
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority
from tests.support.fakes import token_target
from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp.proxy.node import Node
from tests.unit.wisp.proxy.sidecar import Pod, Sidecar, free_port, running

INSTANCE = "/metadata/instance?api-version=2021-02-01"
GET = f"GET {INSTANCE} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\nConnection: close\r\n\r\n".encode()
MUCH = 50_000_000
MOST_GROWN = 1_000_000
"""Bytes that the sidecar's memory may grow by, whatever passes through it."""


@pytest.fixture(name="node")
def _node() -> Iterator[Node]:
    with Node() as node:
        yield node


@contextmanager
def passing(pod: Pod, authority: Authority, *flags: str, endpoint: str) -> Generator[Sidecar]:
    """Run a sidecar that forwards to `endpoint`."""
    with running(pod, "--authority-ca", str(authority.ca_file), "--metadata-endpoint", endpoint, *flags) as sidecar:
        yield sidecar


def peak(sidecar: Sidecar) -> int:
    """Return the peak memory of the process in bytes (proc_pid_status(5))."""
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) * 1024


def outcome(sidecar: Sidecar, name: str) -> int:
    """Return how many requests had the outcome."""
    page = sidecar.get("/metrics").body.decode()
    return int(page.split(f'wisp_requests_total{{outcome="{name}"}} ')[1].split("\n")[0])


def test_request_is_forwarded_and_its_response_returned(own_pod: Pod, authority: Authority, node: Node) -> None:
    """The node sees the client's headers, and tokens are served meanwhile."""
    with passing(own_pod, authority, endpoint=node.address) as sidecar:
        answer = sidecar.get(INSTANCE, Metadata="true", User_Agent="a client", x_ms_client_request_id="1-2")
        assert (answer.status, answer.body) == (200, b'{"from":"node"}')
        assert sidecar.token().status == 200
        assert outcome(sidecar, "passed") == 1
    (request,) = node.requests
    assert request.startswith(f"GET {INSTANCE} HTTP/1.1\r\nHost: {node.address}\r\nConnection: close\r\n".encode())
    assert b"\r\nuser-agent: a client\r\n" in request


def test_events_can_be_acknowledged_only_if_enabled(own_pod: Pod, authority: Authority, node: Node) -> None:
    """By default events can only be read, and the node receives no POST."""
    events = "/metadata/scheduledevents?api-version=2020-07-01"
    with passing(own_pod, authority, endpoint=node.address) as sidecar:
        refused = sidecar.get(events, "POST", Metadata="true")
        assert (refused.status, refused.headers["allow"]) == (405, "GET")
        assert "scheduledevents-acknowledge" in refused.document["error_description"]
        assert node.requests == []
        assert sidecar.get(events, Metadata="true").status == 200
    allowed = ("--passthrough", "scheduledevents-acknowledge")
    with passing(own_pod, authority, *allowed, endpoint=node.address) as sidecar:
        assert sidecar.get(events, "POST", Metadata="true").status == 200
        assert sidecar.get(events, Metadata="true").status == 405
    read, acknowledged = node.requests
    assert (read[:4], acknowledged[:5]) == (b"GET ", b"POST ")


def test_required_identity_header_guards_every_path_but_health(own_pod: Pod, authority: Authority, node: Node) -> None:
    required = {"IDENTITY_HEADER": "the-header", "WISP_IDENTITY_HEADER_REQUIRED": "true"}
    own = own_pod._replace(environment={**own_pod.environment, **required})
    targets = (token_target(), INSTANCE, "/metadata/scheduledevents", "/metrics", "/nothing")
    with passing(own, authority, endpoint=node.address) as sidecar:
        for target in targets:
            for method in ("GET", "POST"):
                assert sidecar.get(target, method, Metadata="true").status == 401
                assert sidecar.get(target, method, Metadata="true", X_IDENTITY_HEADER="another").status == 401
        assert node.requests == []
        assert [sidecar.get(page).status for page in ("/readyz", "/healthz")] == [200, 200]
        for target in targets[:-1]:
            assert sidecar.get(target, Metadata="true", X_IDENTITY_HEADER="the-header").status == 200
    assert len(node.requests) == 2


@pytest.mark.parametrize("head", [b"Content-Length: %d\r\n\r\n" % MUCH, b"\r\n"], ids=["a length", "to the end"])
def test_response_of_50_mb_streams_through_less_than_1_mb(
    own_pod: Pod, authority: Authority, node: Node, head: bytes
) -> None:
    node.answer = lambda _: iter([b"HTTP/1.1 200 OK\r\n" + head, *[b"m" * 1_000_000] * (MUCH // 1_000_000)])
    with passing(own_pod, authority, endpoint=node.address) as sidecar:
        sidecar.token()
        sidecar.get("/metadata/versions", "HEAD", Metadata="true")
        before = peak(sidecar)
        connection = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=PATIENCE)
        connection.request("GET", INSTANCE, headers={"Metadata": "true"})
        response = connection.getresponse()
        assert sum(map(len, iter(lambda: response.read(1 << 20), b""))) == MUCH
        connection.close()
        assert peak(sidecar) - before < MOST_GROWN


def test_unread_responses_stay_with_the_node(own_pod: Pod, authority: Authority, node: Node) -> None:
    """Twenty clients read 50 MB each slowly."""
    node.answer = lambda _: iter([b"HTTP/1.1 200 OK\r\n\r\n", *[b"m" * 1_000_000] * (MUCH // 1_000_000)])
    with passing(own_pod, authority, endpoint=node.address) as sidecar:
        sidecar.token()
        sidecar.get("/metadata/versions", "HEAD", Metadata="true")
        before = peak(sidecar)
        lazy = [socket.create_connection(("127.0.0.1", sidecar.port), PATIENCE) for _ in range(20)]
        for client in lazy:
            client.sendall(GET)
            assert client.recv(1) == b"H"
        assert sidecar.token().status == 200
        assert peak(sidecar) - before < 2 * MOST_GROWN
        for client in lazy:
            client.close()
    assert len(node.requests) == 20


def test_sidecar_that_forwards_to_itself_reports_it(own_pod: Pod, authority: Authority) -> None:
    """At once, without a loop."""
    port = free_port()
    flags = ("--authority-ca", str(authority.ca_file), "--metadata-endpoint", f"127.0.0.1:{port}")
    with running(own_pod, *flags, port=port) as sidecar:
        answer = sidecar.get(INSTANCE, Metadata="true")
        assert outcome(sidecar, "refused") == 1
    assert (answer.status, answer.document["error"]) == (508, "loop_detected")
    assert (
        f"--metadata-endpoint 127.0.0.1:{port} is the address of the sidecar itself"
        in (answer.document["error_description"])
    )


def test_missing_metadata_service_is_reported_every_time(own_pod: Pod, authority: Authority) -> None:
    """As outside Azure."""
    with passing(own_pod, authority, endpoint=f"127.0.0.1:{free_port()}") as sidecar:
        answers = [sidecar.get(INSTANCE, Metadata="true") for _ in range(50)]
        assert {answer.status for answer in answers} == {503}
        assert "no metadata service" in answers[0].document["error_description"]
        assert outcome(sidecar, "pass_failed") == 50
        assert [event["cause"] for event in sidecar.events() if event["event"] == "pass failed"] == ["unreachable"] * 50


def listening(sidecar: Sidecar) -> list[dict[str, Any]]:
    """Return the log line with the settings; a request may be logged before it."""
    return [event for event in sidecar.events() if event["event"] == "listening"]


@pytest.mark.parametrize("names, there", [("none", 404), ("versions", 404), ("versions,instance", 200)])
def test_only_the_names_in_the_flag_are_forwarded(
    own_pod: Pod, authority: Authority, node: Node, names: str, there: int
) -> None:
    with passing(own_pod, authority, "--passthrough", names, endpoint=node.address) as sidecar:
        assert sidecar.get(INSTANCE, Metadata="true").status == there
        wait_until(lambda: listening(sidecar))
        assert set(listening(sidecar)[0]["passthrough"].split(",")) == set(names.split(","))


def test_forwarding_is_loaded_with_the_first_request_that_needs_it() -> None:
    """Sidecars that nobody asks for metadata save its memory."""
    script = "import sys, wisp.proxy.app, wisp.proxy.token_service, wisp.entra.process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "wisp.proxy.token_service" in loaded
    assert not {
        "wisp.imds.passthrough",
        "wisp.proxy.metadata_proxy",
        "wisp.proxy.returned",
        "wisp.http.response_parser",
    } & set(loaded)
