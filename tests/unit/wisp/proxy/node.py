"""A hand-written metadata service of a node in threads: it records every byte and returns the answers it is given."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tests.support.waiting import PATIENCE

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"from":"node"}'


class Node:
    """Serve at `address` until the block ends; `answer` returns the bytes of the answer to a request."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[bytes] = []
        self.answer: Callable[[bytes], Iterator[bytes]] = lambda _: iter([ANSWER])
        self._listener = socket.create_server((host, port), backlog=64)
        self._threads: list[threading.Thread] = []
        self.address = "{}:{}".format(*self._listener.getsockname())

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            request = _read(connection)
            self.requests.append(request)
            for piece in self.answer(request):
                connection.sendall(piece)


def _read(connection: socket.socket) -> bytes:
    """Read one request, or as much of it as arrives."""
    data = b""
    while (end := data.find(b"\r\n\r\n") + 4) < 4 or len(data) < end + _length(data[:end]):
        received = connection.recv(65536)
        if not received:
            break
        data += received
    return data


def _length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0
