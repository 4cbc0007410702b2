"""Documents that are got over https: whom to trust, and what is an error."""

import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wisp_local.cloud.https import FetchError, HttpsFetch, trust
from wisp_local.cloud.serving import tls_context
from wisp_local.cloud.state.authority import new_authority, new_server_certificate


class _Answers(BaseHTTPRequestHandler):
    """Answer by path."""

    def do_GET(self) -> None:
        """Send what the path says."""
        status = {"/moved": 302, "/absent": 404}.get(self.path, 200)
        body = b"x" * 300_000 if self.path == "/large" else b"{}"
        self.send_response(status)
        self.send_header("Location", "/good")
        self.send_header("Content-Length", str(len(body) + (9 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's signature
        """Say nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    """Serve over TLS; give the base URL and the CA's file."""
    authority = new_authority(time.time())
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca_file.write_bytes(authority.certificate_pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        context = tls_context(new_server_certificate(authority, ["127.0.0.1"], time.time()))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}", ca_file
        server.shutdown()
        thread.join()


def test_document_of_a_trusted_server_is_read(server: tuple[str, Path]) -> None:
    """The given CA is trusted in addition to the system's."""
    url, ca_file = server
    assert HttpsFetch(trust(ca_file))(f"{url}/good") == b"{}"


@pytest.mark.parametrize("path", ["/moved", "/absent", "/large", "/short"])
def test_anything_but_a_complete_small_200_is_an_error(server: tuple[str, Path], path: str) -> None:
    """Redirects are not followed, and a large answer is not read to its end."""
    url, ca_file = server
    with pytest.raises(FetchError):
        HttpsFetch(trust(ca_file))(url + path)


def test_untrusted_server_is_an_error(server: tuple[str, Path]) -> None:
    with pytest.raises(FetchError, match="SSLError"):
        HttpsFetch(trust())(f"{server[0]}/good")


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/", "https://absent.invalid/", "https://[::bad/"])
def test_unreachable_server_is_an_error(url: str) -> None:
    with pytest.raises(FetchError):
        HttpsFetch(trust())(url)
