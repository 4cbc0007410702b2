"""An HTTPS server of a test, which records its requests."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from weakref import WeakKeyDictionary

from wisp_local.cloud.state.authority import new_authority, new_server_certificate


@dataclass(frozen=True)
class Request:
    """A request: `path` and `headers` as sent, and the server name from the TLS handshake, if any."""

    server_name: str | None
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """A response with a JSON document."""

    document: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HttpsServer:
    """A server at `url` with a certificate of the CA `ca` (PEM), and its requests so far."""

    url: str
    ca: str
    requests: list[Request]


Answer = Callable[[Request], Reply]


class _Server(ThreadingTCPServer):
    """Unlike HTTPServer, it does not ask DNS for its name."""

    daemon_threads = True

    def __init__(self, host: str, context: ssl.SSLContext, answer: Answer) -> None:
        super().__init__((host, 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.answer = answer
        self.requests: list[Request] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = _NAMES.get(self.connection)
        request = Request(name, self.command, self.path, dict(self.headers), body)
        self.server.requests.append(request)
        reply = self.server.answer(request)
        document = json.dumps(reply.document).encode()
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(document)), **reply.headers}
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, *_: object) -> None:
        pass


_NAMES: WeakKeyDictionary[object, str] = WeakKeyDictionary()
"""The server names of connections: they are known in the handshake only, and a handler cannot ask for them."""


def _remember(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
    if name is not None:
        _NAMES[connection] = name


@contextmanager
def https_server(host: str, name: str, answer: Answer, folder: Path) -> Iterator[HttpsServer]:
    """Answer requests at `host` until the block ends, with a certificate for `name`; its key is written to `folder`."""
    authority = new_authority(time.time())
    certified = new_server_certificate(authority, [name], time.time())
    pem = folder / "server.pem"
    pem.write_bytes(certified.key_pem + certified.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.sni_callback = _remember
    with _Server(host, context, answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            url = f"https://{host}:{server.server_address[1]}"
            yield HttpsServer(url, authority.certificate_pem.decode(), server.requests)
        finally:
            server.shutdown()
            thread.join()
