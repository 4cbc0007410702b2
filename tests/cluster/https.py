"""A server of a test's own, over TLS, where the cluster finds it: at this machine's address on the node's network."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wisp.cloud.certificates import new_authority, new_server_certificate


@dataclass(frozen=True)
class Asked:
    """A request: the name asked for in TLS, if any, the path, and the body."""

    server_name: str | None
    path: str
    body: bytes


@dataclass(frozen=True)
class Listening:
    """A server at `url`, certified by the authority `ca` (PEM); `asked` grows."""

    url: str
    ca: str
    asked: list[Asked] = field(default_factory=list)


Answer = Callable[[Asked], object]
"""Makes the JSON document that a POST is answered with."""


@contextmanager
def listening(host: str, names: tuple[str, ...], answer: Answer, folder: Path) -> Iterator[Listening]:
    """Answer POSTs at `host` until the block ends, with a certificate for `names`; keys are kept in `folder`."""
    authority = new_authority(time.time())
    certified = new_server_certificate(authority, names, time.time())
    pem = folder / "server.pem"
    pem.write_bytes(certified.key_pem + certified.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.sni_callback = _remember
    server = ThreadingHTTPServer((host, 0), BaseHTTPRequestHandler, bind_and_activate=True)
    server.daemon_threads = True
    made = Listening(f"https://{host}:{server.server_port}", authority.certificate_pem.decode())
    server.RequestHandlerClass = _handler(made, answer)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _remember(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
    connection.server_name = name  # type: ignore[union-attr]  # a note to the handler


def _handler(made: Listening, answer: Answer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = Asked(getattr(self.connection, "server_name", None), self.path, body)
            made.asked.append(asked)
            document = json.dumps(answer(asked)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
