"""`tunnel.py HOST NAME=HOST:PORT ...`: an HTTP proxy for tunnels (CONNECT) only, at an address that it prints.

Clients that know only Azure's host names reach the local services through it (HTTPS_PROXY): no name server is asked,
and the certificates are checked for these names. Other names are refused.
"""

import http.server
import json
import select
import socket
import sys
from collections.abc import Mapping

_CHUNK = 65536  # bytes
_IDLE = 300  # seconds without a byte, after which a tunnel ends


class Handler(http.server.BaseHTTPRequestHandler):
    """Connects the client to the target of the requested name."""

    targets: Mapping[str, tuple[str, int]]

    def do_CONNECT(self) -> None:
        """Make a tunnel (RFC 9110 §9.3.6)."""
        target = self.targets.get(self.path.removesuffix(":443"))
        if target is None:
            self.send_error(403, f"no target is given for {self.path}")
            return
        with socket.create_connection(target) as there:
            self.send_response(200)
            self.end_headers()
            _relay(self.connection, there)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing."""


def _relay(here: socket.socket, there: socket.socket) -> None:
    """Carry bytes both ways until one side closes."""
    other = {here: there, there: here}
    while ready := select.select([here, there], [], [], _IDLE)[0]:
        for connection in ready:
            content = connection.recv(_CHUNK)
            if not content:
                return
            other[connection].sendall(content)


def main(host: str, *mappings: str) -> None:
    """Serve until killed."""
    for mapping in mappings:
        name, _, target = mapping.partition("=")
        address, _, port = target.rpartition(":")
        Handler.targets = {**getattr(Handler, "targets", {}), name: (address, int(port))}
    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    print(json.dumps({"url": f"http://{host}:{server.server_port}"}), flush=True)  # noqa: T201 -- it is a program
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
