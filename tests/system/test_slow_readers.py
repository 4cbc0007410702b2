"""A sidecar whose connections are all taken by clients that do not read and reconnect when disconnected."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.authority import Authority
from tests.support.fakes import ARM, token_target
from tests.support.waiting import wait_until
from tests.unit.wisp.proxy.sidecar import Sidecar, pod, running

pytestmark = pytest.mark.system

CLIENTS = 1100
"""More than the sidecar has places."""
REQUESTS = 5000
"""Of each client: more answers than the kernel and the sidecar keep for it."""


class SlowReaders:
    """Clients of `port` that do not read, run in a thread until the block ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._request = f"GET {token_target(ARM)} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n\r\n".encode() * 50
        self._open: dict[int, socket.socket] = {}
        self._sent: dict[int, int] = {}
        self._epoll = select.epoll()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.connected = 0
        """Connections so far."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            for _ in range(min(50, CLIENTS - len(self._open))):
                self._connect()
            for descriptor, events in self._epoll.poll(0.05, 200):
                if events & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
                    self._close(descriptor)
                else:
                    self._ask(descriptor)
        for descriptor in list(self._open):
            self._close(descriptor)
        self._epoll.close()

    def _connect(self) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.settimeout(0)
        with suppress(BlockingIOError):
            client.connect(("127.0.0.1", self._port))
        self._open[client.fileno()] = client
        self._sent[client.fileno()] = 0
        self._epoll.register(client.fileno(), select.EPOLLOUT | select.EPOLLRDHUP)
        self.connected += 1

    def _ask(self, descriptor: int) -> None:
        with suppress(OSError):  # its end is reported
            self._sent[descriptor] += self._open[descriptor].send(self._request)
        if self._sent[descriptor] > REQUESTS * len(self._request) // 50:
            self._epoll.modify(descriptor, select.EPOLLRDHUP)

    def _close(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        del self._sent[descriptor]
        self._open.pop(descriptor).close()


@pytest.fixture(name="sidecar")
def _sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with (
        Authority(tmp_path) as authority,
        running(pod(tmp_path, authority.url), "--authority-ca", str(authority.ca_file)) as sidecar,
    ):
        assert sidecar.token().status == 200
        yield sidecar


def test_other_clients_are_served_among_slow_readers(sidecar: Sidecar) -> None:
    """Every token request and every probe is answered while slow readers are disconnected and reconnect."""
    with SlowReaders(sidecar.port) as readers:
        wait_until(lambda: readers.connected >= CLIENTS)
        for _ in range(20):
            before = readers.connected
            assert sidecar.token().status == 200
            assert sidecar.get("/readyz").status == 200
            wait_until(lambda before=before: readers.connected > before)  # type: ignore[misc]
