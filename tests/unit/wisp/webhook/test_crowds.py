"""Crowds of hostile connections against the process: genuine reviews and probes are answered meanwhile."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.processes import Memory
from tests.support.waiting import PATIENCE
from tests.unit.wisp.kubernetes.apiserver import running, service_account
from tests.unit.wisp.webhook.process import CLIENT_ID, SERVICE, Webhook, review, trusted, webhook

pytestmark = pytest.mark.system

HALF_A_REVIEW = b"POST /mutate-v1-pod HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
MOST_ANONYMOUS = 75.0
"""MB; with what the process maps from files it stays under 110 MB."""


@pytest.fixture(name="hook")
def _hook(tmp_path: Path) -> Iterator[Webhook]:
    """Run a webhook that is ready."""
    with running() as api:
        api.world.put("serviceaccounts", service_account("web", client_id=CLIENT_ID))
        with webhook(api, tmp_path) as hook:
            hook.await_ready()
            yield hook


def connected(port: int, source: str) -> socket.socket:
    """Connect from a source address, as another host would."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))


@pytest.mark.parametrize("sources", [1, 10], ids=["one source", "ten sources"])
@pytest.mark.parametrize("kind", ["three bytes of a handshake", "half a review"])
def test_reviews_are_answered_despite_many_connections(hook: Webhook, kind: str, sources: int) -> None:
    """The number of connections and the memory are limited, and a persistent connection survives."""
    context = trusted(hook.api)
    with contextlib.ExitStack() as stack, hook.connect() as persistent:
        persistent.review(review())
        for number in range(1200):
            connection = connected(hook.port, f"127.0.0.{1 + number % sources}")
            stack.callback(connection.close)
            with contextlib.suppress(OSError):  # displaced by those after it
                if kind == "half a review":
                    connection = context.wrap_socket(connection, server_hostname=SERVICE)
                    stack.callback(connection.close)
                    connection.sendall(HALF_A_REVIEW)
                else:
                    connection.sendall(b"\x16\x03\x01")
            if number % 50 == 49:
                assert hook.review(review())["allowed"] is True
        assert persistent.review(review())["allowed"] is True
        assert hook.health("/readyz") == (200, "ok\n")
        assert hook.metric("wisp_webhook_connections") <= (256 if sources == 1 else 512)
        assert Memory.of(hook.process.pid).anonymous < MOST_ANONYMOUS


@pytest.mark.parametrize("kind", ["incomplete", "idle"])
def test_probes_are_answered_despite_many_connections(hook: Webhook, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(1200):
            connection = connected(hook.health_port, "127.0.0.1")
            stack.callback(connection.close)
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /readyz HTTP/1.1\r\n" + (b"Host: x\r\n\r\n" if kind == "idle" else b""))
            if number % 50 == 49:
                assert hook.health("/readyz") == (200, "ok\n")
        page = hook.health("/metrics")[1]
    closed = re.findall(r'connections_closed_total\{port="health",reason="\w+"\} (\d+)', page)
    assert sum(map(int, closed)) > 800


def test_limit_per_source_address_counts_for_both_ports(tmp_path: Path) -> None:
    with running() as api, webhook(api, tmp_path, "--connections-per-source", "2") as hook:
        hook.await_ready()
        with contextlib.ExitStack() as stack:
            for port in [hook.port, hook.health_port] * 5:
                stack.callback(connected(port, "127.0.0.1").close)
            page = hook.health("/metrics")[1]
        closed = dict(re.findall(r'connections_closed_total\{port="(\w+)",reason="source"\} (\d+)', page))
        assert closed == {"reviews": "3", "health": "4"}
