"""`stand_in.py HOST CERTIFICATE KEY`: what the local cloud does not do, at an https URL that it prints.

An Entra that only throttles (`/throttled/`), and one that only fails (`/unavailable/`).
"""

import http.server
import json
import ssl
import sys

_THROTTLED = "AADSTS90055: There are too many incoming requests."
_UNAVAILABLE = "AADSTS90033: A transient error has occurred. Please try again."


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path alone."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Refuse as the path says."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/throttled/"):
            self._answer(429, {"error": "temporarily_unavailable", "error_description": _THROTTLED})
        else:
            self._answer(503, {"error": "temporarily_unavailable", "error_description": _UNAVAILABLE})

    def _answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Say nothing."""


def main(host: str, certificate: str, key: str) -> None:
    """Serve until killed."""
    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(json.dumps({"url": f"https://{host}:{server.server_port}"}), flush=True)  # noqa: T201 -- it is a program
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
