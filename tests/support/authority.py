"""A hand-written token endpoint over TLS that can misbehave in every way."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias
from urllib.parse import parse_qs

from tests.support.fakes import jwt
from tests.support.waiting import PATIENCE, wait_until
from wisp.base.x509 import CertifiedKey
from wisp_local.cloud.serving import tls_context
from wisp_local.cloud.state.authority import new_authority, new_server_certificate


class Post(NamedTuple):
    """A received request."""

    line: str
    form: dict[str, list[str]]
    headers: dict[str, str]
    """By their names in lower case. Values are in lower case too."""


class Last(bytes):
    """An answer after which the connection is closed."""

    __slots__ = ()


class Drip(bytes):
    """An answer that is sent at three bytes a second."""

    __slots__ = ()


Behaviour: TypeAlias = Callable[[Post], bytes | None]
"""Returns the whole answer to a request; None closes the connection without one."""


def answer(status: int, document: object, *headers: str) -> bytes:
    """Return an HTTP answer with a JSON body."""
    body = json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def grants(post: Post) -> bytes:
    """Answer with a token of the audience that was asked for."""
    audience = post.form["scope"][0].removesuffix("/.default")
    token = jwt(aud=audience, oid="object", tid="tenant", nbf=int(time.time()))
    return answer(200, {"token_type": "Bearer", "expires_in": 86399, "ext_expires_in": 86399, "access_token": token})


def refuses(status: int, code: int, *headers: str) -> Behaviour:
    """Answer with an error in Entra's format."""
    document = {
        "error": "invalid_client",
        "error_description": f"AADSTS{code}: No. Trace ID: 1",
        "error_codes": [code],
    }
    return lambda _: answer(status, document, *headers)


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behave in each way once, and in the last indefinitely."""
    *first, last = behaviours
    rest = iter(first)

    def behave(post: Post) -> bytes | None:
        return next(rest, last)(post)

    return behave


class Authority:
    """Serve at `url` until the block ends; `behaviour` may be changed at any time."""

    def __init__(self, folder: Path, behaviour: Behaviour = grants, *, port: int = 0) -> None:
        self.behaviour = behaviour
        self.posts: list[Post] = []
        self.connections = 0
        self.ca_file = folder / "ca.pem"
        self._authority = new_authority(time.time())
        self.ca_file.write_bytes(self._authority.certificate_pem)
        self._context = tls_context(self._certified())
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}/"

    def _certified(self) -> CertifiedKey:
        return new_server_certificate(self._authority, ["127.0.0.1"], time.time())

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE)

    def hang_up(self) -> None:
        """Close every connection, and wait until they are."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._open, "connections closed", pause=0.001)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            tls = self._context.wrap_socket(connection, server_side=True)
            self.connections += 1
            self._open.add(tls)
            try:
                with tls:
                    while (response := self._answer(tls)) is not None:
                        _send(tls, response)
                        if isinstance(response, Last):
                            break
            finally:
                self._open.discard(tls)

    def _answer(self, tls: ssl.SSLSocket) -> bytes | None:
        post = _read(tls)
        if post is None:
            return None
        self.posts.append(post)
        return self.behaviour(post)


def _send(tls: ssl.SSLSocket, response: bytes) -> None:
    if not isinstance(response, Drip):
        tls.sendall(response)
        return
    for byte in response:
        tls.sendall(bytes((byte,)))
        time.sleep(1 / 3)  # the purpose of Drip is to be slow


def _read(tls: ssl.SSLSocket) -> Post | None:
    data = b""
    while b"\r\n\r\n" not in data:
        received = tls.recv(65536)
        if not received:
            return None
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    while len(body) < int(fields.get("content-length", "0")):
        received = tls.recv(65536)
        if not received:  # the client closed the connection within its request
            return None
        body += received
    return Post(lines[0], parse_qs(body.decode()), fields)
