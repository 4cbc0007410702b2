"""The node's own metadata service, which workloads must not reach: at its address, in the node's network.

It answers every request, also with a token of the node, and records the client.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wisp_local.lab.node.node import Node
from wisp_local.sandbox.processes import ProcessIdentity

ADDRESS = "169.254.169.254"
NODES_TOKEN = "the-node's-own-token"
_PROGRAM = """\
import http.server, json, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        print(json.dumps([self.client_address[0], self.path]), file=sys.stderr, flush=True)
        body = json.dumps({"access_token": sys.argv[2], "compute": {"vmId": "node1"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *about):
        pass
class Server(socketserver.ThreadingTCPServer):  # http.server's own asks DNS for its name, and waits in vain
    allow_reuse_address = daemon_threads = True
server = Server((sys.argv[1], 80), Handler)
print("listening", flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class NodeService:
    """The running service, with its record of requests."""

    record: Path

    def requests_from(self, address: str) -> list[str]:
        """Return the paths of the requests from an address, in order."""
        lines = [json.loads(line) for line in self.record.read_text(encoding="utf-8").splitlines()]
        return [path for client, path in lines if client == address]


@contextmanager
def node_service(node: Node, folder: Path) -> Iterator[NodeService]:
    """Run the node's metadata service until the block ends."""
    first = ProcessIdentity.read(node.layout.process)
    assert first is not None
    inside = ("nsenter", f"--net=/proc/{first.pid}/ns/net", "--")
    subprocess.run([*inside, "ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"], check=True)
    record = folder / "requests"
    with (
        record.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [*inside, sys.executable, "-c", _PROGRAM, ADDRESS, NODES_TOKEN], stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            yield NodeService(record)
        finally:
            process.kill()
            subprocess.run([*inside, "ip", "address", "delete", f"{ADDRESS}/32", "dev", "lo"], check=True)
