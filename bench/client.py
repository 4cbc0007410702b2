"""A client that asks as fast as it can: many requests in one packet, answers counted and not looked at."""

import socket
from collections.abc import Iterable
from http.client import HTTPConnection
from itertools import islice
from typing import NamedTuple

TOKEN_PATH = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"  # noqa: S105 -- a path
TOKEN = b"GET %b HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n" % TOKEN_PATH.encode()
_AT_ONCE = 50


class Answer(NamedTuple):
    """An answer to one request: the status, the body, and how many bytes it was on the wire."""

    status: int
    body: bytes
    size: int


def ask(port: int, target: str = TOKEN_PATH) -> Answer:
    """Ask as a workload does, on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", target, headers={"Metadata": "true"})
    answer = connection.getresponse()
    body = answer.read()
    head = sum(len(name) + len(value) + 4 for name, value in answer.getheaders()) + len("HTTP/1.1 200 OK\r\n\r\n")
    connection.close()
    return Answer(answer.status, body, head + len(body))


def pour(port: int, requests: Iterable[bytes]) -> int:
    """Send `requests`, which all keep their connection alive, and count the answers."""
    rest = iter(requests)
    count = 0
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        while batch := list(islice(rest, _AT_ONCE)):
            client.sendall(b"".join(batch))
            count += _read(client, len(batch))
    return count


def _read(client: socket.socket, answers: int) -> int:
    """Read so many answers; return how many came before the connection ended."""
    seen, kept = 0, b""
    while seen < answers:
        data = client.recv(1 << 18)
        if not data:
            break
        seen += (kept + data).count(b"HTTP/1.1 ")
        kept = (kept + data)[-8:]  # a status line may come in two pieces
    return seen


def offend(port: int, data: bytes) -> bytes:
    """Send what is no request on a connection of its own, and return all that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while received := client.recv(1 << 16):
            answer += received
        return answer
