"""`recorder.py PORT`: answers every token request on 127.0.0.1:PORT with an unsigned token.

It writes every request to standard error as a line of JSON: method, target, headers, body. A request without the header
of token requests in any dialect is a probe, and is answered as by the metadata service.
"""

import base64
import http.server
import json
import sys
import time
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

_MARKS = ("Metadata", "X-IDENTITY-HEADER", "secret")
_LIFETIME = 24 * 3600
CLIENT_ID = "00000000-0000-4000-8000-00000000beef"
"""The client id of its tokens, without an identity."""
_TENANT_ID = "00000000-0000-4000-8000-00000000cafe"


class Handler(http.server.BaseHTTPRequestHandler):
    """Records, then answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Take a request without a body."""
        self._take("")

    def do_POST(self) -> None:
        """Take a request with a form."""
        self._take(self._body())

    def _take(self, body: str) -> None:
        line = {"method": self.command, "target": self.path, "headers": dict(self.headers), "body": body}
        sys.stderr.write(json.dumps(line) + "\n")
        if any(self.headers.get(name) for name in _MARKS):
            parameters = parse_qs(urlsplit(self.path).query) | parse_qs(body)
            self._answer(200, token_response(parameters["resource"][0], int(time.time())))
        else:
            self._answer(400, {"error": "bad_request_102", "error_description": "Required metadata header"})

    def _body(self) -> str:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body.decode()

    def _answer(self, status: int, document: dict[str, str]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing."""


def token_response(resource: str, now: int) -> dict[str, str]:
    """Return the answer of the metadata service."""
    expires = now + _LIFETIME
    claims = {"aud": resource, "appid": CLIENT_ID, "oid": "o", "tid": _TENANT_ID, "exp": expires, "xms_mirid": "m"}
    return {
        "access_token": ".".join(_encoded(part) for part in ({"alg": "none"}, claims, {})),
        "client_id": CLIENT_ID,
        "expires_in": str(_LIFETIME),
        "expires_on": str(expires),
        "ext_expires_in": str(_LIFETIME),
        "not_before": str(now),
        "resource": resource,
        "token_type": "Bearer",
    }


def _encoded(part: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def main(port: str) -> None:
    """Serve until killed; print a line when it listens."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    print("ready", flush=True)  # noqa: T201 -- it is a program
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
