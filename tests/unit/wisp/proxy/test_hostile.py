"""The requests of `hostile.py` against the real process, with real tokens and a recording node."""

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.fuzz.sidecar import Pod
from tests.fuzz.wires import DRIVERS, Conversation
from tests.support.authority import Authority
from tests.support.fakes import token_target
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE
from tests.unit.wisp.proxy.hostile import CASES, CHECKS, FRAMING, REQUESTS, SPELLINGS, TOKEN_REQUEST, Case, page
from tests.unit.wisp.proxy.node import Node
from tests.unit.wisp.proxy.sidecar import Sidecar, pod, running
from wisp.imds.passthrough import NAMES


class Besieged(NamedTuple):
    """A sidecar, and the node behind it."""

    sidecar: Sidecar
    node: Node

    def ask(self, data: bytes, at_a_time: int) -> bytes:
        """Send `data` in pieces of a size, then nothing more; return the answers until the connection ends."""
        received = bytearray()
        with socket.create_connection(("127.0.0.1", self.sidecar.port), PATIENCE) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(ConnectionError):  # it may have been refused already
                for start in range(0, len(data), at_a_time):
                    connection.sendall(data[start : start + at_a_time])
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(1 << 16):
                    received += piece
        return bytes(received)


@pytest.fixture(name="besieged", scope="module")
def _besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    folder = tmp_path_factory.mktemp("besieged")
    with Authority(folder) as authority, Node() as node:
        passed = ("--passthrough", ",".join(NAMES), "--metadata-endpoint", node.address)
        flags = ("--authority-ca", str(authority.ca_file), *passed)
        with running(pod(folder, authority.url), *flags) as sidecar:
            yield Besieged(sidecar, node)


def statuses(answers: bytes) -> tuple[int, ...]:
    """Return the statuses of the answers."""
    return tuple(int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers))


def test_ordinary_requests_get_a_token_and_metadata(besieged: Besieged) -> None:
    """Otherwise the other tests would prove nothing."""
    assert b'"access_token":"' in besieged.ask(TOKEN_REQUEST, 1 << 20)
    besieged.node.requests.clear()
    good = b"GET /metadata/instance HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n\r\n"
    assert besieged.ask(good, 1 << 20).endswith(b'{"from":"node"}')
    assert besieged.ask(good, 1).endswith(b'{"from":"node"}')
    assert len(besieged.node.requests) == 2
    besieged.node.requests.clear()


@pytest.mark.parametrize(
    "target, version, host",
    [
        ("", "1.1", "169.254.169.254"),
        ("", "1.1", "169.254.169.254:80"),
        ("", "1.1", "LOCALHOST:8000"),
        ("", "1.1", "127.0.0.1:8000"),
        ("", "1.1", "127.1.2.3"),
        ("", "1.1", "[::1]:8000"),
        ("", "1.0", None),
        ("", "1.0", "localhost"),
        ("http://169.254.169.254", "1.1", "169.254.169.254"),
        ("http://localhost:8000", "1.0", None),
    ],
)
def test_request_to_a_known_host_gets_a_token(besieged: Besieged, target: str, version: str, host: str | None) -> None:
    """Workloads send these, through the redirect or by variables."""
    fields = [] if host is None else [f"Host: {host}"]
    lines = [f"GET {target}{token_target()} HTTP/{version}", *fields, "Metadata: true", "", ""]
    assert b'"access_token":"' in besieged.ask("\r\n".join(lines).encode(), 1 << 20)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_hostile_request_gets_its_documented_answer(besieged: Besieged, case: Case) -> None:
    """The answer is a JSON error, for input at once or byte by byte. The node gets nothing, and no token is issued."""
    for at_a_time in (1 << 20, 1):
        answers = besieged.ask(case.data, at_a_time)
        assert statuses(answers) == case.statuses
        assert b"access_token" not in answers
        assert not answers or b"Content-Type: application/json" in answers
    assert besieged.node.requests == []


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_both_servers_answer_a_hostile_request_alike(case: Case, driver: str) -> None:
    """The sidecar's application runs in memory behind the connections of each server: same statuses, same end."""
    for at_a_time in (1 << 20, 1):
        pod = Pod(lambda application: application, at_once=True, required=False, passed=NAMES)
        conversation = Conversation(pod.application, DRIVERS[driver], 1 << 20, pod.entra.answer)
        for start in range(0, len(case.data), at_a_time):
            conversation.say(case.data[start : start + at_a_time])
        answered, hung_up = bytes(conversation.wire.answered), conversation.wire.hung_up
        conversation.end()
        pod.logged()
        assert statuses(answered) == case.statuses
        assert b"access_token" not in answered
        assert hung_up == (b"Connection: close" in answered)


def test_minimum_number_of_hostile_requests_of_each_kind() -> None:
    assert len(SPELLINGS) >= 40
    assert len(REQUESTS) >= 20
    assert len(FRAMING) >= 40
    assert len(CHECKS) >= 25
    assert all(status >= 400 for case in CASES.values() for status in case.statuses)


def test_documentation_page_is_up_to_date() -> None:
    """`python -m tests.unit.wisp.proxy.hostile` writes docs/reference/hostile-requests.md."""
    assert (ROOT / "docs/reference/hostile-requests.md").read_text(encoding="utf-8") == page()
