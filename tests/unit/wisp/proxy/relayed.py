"""A sidecar that forwards requests to a metadata service that the test plays, with a clock set by hand."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h11

from tests.unit.wisp.http.world import Client, SocketEnd, World
from wisp.base.log import Log
from wisp.http.connection import Source
from wisp.http.messages import Reject, Request, Response
from wisp.imds.answer import Refusal, error_body
from wisp.imds.passthrough import NAMES, judge
from wisp.proxy.metadata_proxy import MetadataProxy
from wisp.proxy.metrics import Metrics
from wisp.proxy.returned import MetadataEndpoint

GET = b"GET /metadata/instance HTTP/1.1\r\nHost: x\r\nMetadata: true\r\n\r\n"
OLD_GET = GET.replace(b"HTTP/1.1", b"HTTP/1.0")
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


class Node(SocketEnd):
    """The metadata service's listener: it accepts every connection and adds it to `served`."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(socket.create_server(("127.0.0.1", port)))
        self.served: list[SocketEnd] = []
        self.reads = True
        """Whether it reads from those that come from now on."""
        self.endpoint = MetadataEndpoint("127.0.0.1", self.socket.getsockname()[1])

    def move(self) -> bool:
        """Accept connections and let them send and read; return whether there was anything to do."""
        accepted = False
        try:
            while self.socket.fileno() >= 0:
                end = SocketEnd(self.socket.accept()[0])
                end.reading = self.reads
                self.served.append(end)
                accepted = True
        except BlockingIOError:
            pass
        return sum(end.move() for end in self.served) > 0 or accepted

    def close(self) -> None:
        """Close every socket, and check that nothing is left."""
        for end in [self, *self.served]:
            end.socket.close()


class ClientAnswer(NamedTuple):
    """An answer as h11 reads it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def document(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


def client_answers(client: Client) -> list[ClientAnswer]:
    """Return the complete answers that the client received; raise h11.RemoteProtocolError for an incomplete one."""
    connection = h11.Connection(h11.CLIENT)
    connection.receive_data(bytes(client.received))
    if client.ended is not None:
        connection.receive_data(b"")
    found: list[ClientAnswer] = []
    while True:
        if connection.our_state is h11.IDLE:
            connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            connection.send(h11.EndOfMessage())
        head, body = connection.next_event(), b""
        if not isinstance(head, h11.Response):
            return found
        while isinstance(event := connection.next_event(), h11.Data):
            body += bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            return found
        found.append(ClientAnswer(head.status_code, dict(head.headers), body))
        if connection.their_state is not h11.DONE or not connection.trailing_data[0]:
            return found
        connection.start_next_cycle()


class RelayWorld(World):
    """A server that forwards allowed requests, and the node."""

    def __init__(self, folder: Path, endpoint: MetadataEndpoint | None = None) -> None:
        self.node = Node()
        self.metrics = Metrics()
        self._log_file = folder / "log"
        self._descriptor = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._endpoint = endpoint or self.node.endpoint
        super().__init__()

    @classmethod
    @contextmanager
    def between(cls, folder: Path, endpoint: MetadataEndpoint | None = None) -> Iterator["RelayWorld"]:
        """Create a world, and close it at the end."""
        world = cls(folder, endpoint)
        try:
            yield world
        finally:
            world.close()

    def _served(self) -> "RelayWorld":
        self.passing = MetadataProxy(self._endpoint, self.loop, self.metrics, Log("debug", self._descriptor))
        return self

    def _move(self) -> int:
        return super()._move() + self.node.move()

    def answer(self, request: Request, _reply: Callable[[Response], None]) -> Response | Source:
        """Forward allowed requests; answer /ping directly."""
        if request.target == b"/ping":
            return Response(200, b"pong")
        decision = judge(request, NAMES)
        if isinstance(decision, Refusal):
            return Response(decision.status, error_body(decision.error, decision.description))
        return self.passing.answer(decision, request)

    def rejected(self, reject: Reject) -> Response:
        """Return the status of the rejection."""
        return Response(reject.status, b"")

    def forwarded(self, data: bytes = GET) -> tuple[Client, SocketEnd]:
        """Send a request, and return the client with the node's end of the resulting connection."""
        client = self.connect(data)
        self.settle()
        return client, self.node.served[-1]

    def only_answer(self, client: Client) -> ClientAnswer:
        """Let everything happen, and return the only answer that the client received."""
        self.settle()
        (answer,) = client_answers(client)
        return answer

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        lines = [json.loads(line) for line in self._log_file.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def causes(self) -> list[str]:
        """Return why requests failed, and check that each failure is counted."""
        causes = [event["cause"] for event in self.events("pass failed")]
        assert self.metrics.requests["pass_failed"] == len(causes)
        return causes

    def close(self) -> None:
        """Close every socket, and check that nothing is left."""
        self.node.close()
        super().close()
        os.close(self._descriptor)
        assert not self.passing._relays
