"""`services.py HOST CERTIFICATE KEY`: the parts of Azure's services that client programs use, at an https URL.

Each service accepts only bearer tokens for its own audience, and its content is the token's claims. A program that
prints the content therefore shows that it used its token, and whose it was. Signatures are not checked here: the tests
compare the claims with the identity that the local cloud knows.

Two paths are an Entra that always fails: `/throttled/` and `/unavailable/`.
"""

import base64
import hashlib
import http.server
import json
import re
import ssl
import sys
from collections.abc import Mapping
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

MANAGEMENT = "https://management.azure.com"
STORAGE = "https://storage.azure.com"
CONFIGURATION = "https://appconfig.azure.com"
LOGS = "https://api.loganalytics.io"
INGESTION = "https://monitor.azure.com"
_CLASSIC_MANAGEMENT = "https://management.core.windows.net"
_CLAIMS = ("appid", "oid", "aud")
_JSON = "application/json"


class Request(NamedTuple):
    """A request for `path` with `token`; `span` is its Range header, or empty."""

    path: str
    token: str
    span: str

    @property
    def claims(self) -> Mapping[str, str]:
        """Return the payload of the token."""
        payload = self.token.split(".")[1]
        claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims

    @property
    def description(self) -> str:
        """Return claims and hash of the token, as JSON."""
        claims = {name: self.claims[name] for name in _CLAIMS}
        return json.dumps({**claims, "token_sha256": hashlib.sha256(self.token.encode()).hexdigest()})


class Response(NamedTuple):
    """A response; `headers` are in addition to those of all responses."""

    status: int
    body: str
    content_type: str = _JSON
    headers: Mapping[str, str] = {}


def _subscriptions(request: Request) -> Response:
    """List one subscription (Azure Resource Manager), whose name is the description of the token."""
    number = "00000000-0000-4000-8000-000000000001"
    subscription = {
        "id": f"/subscriptions/{number}",
        "subscriptionId": number,
        "tenantId": request.claims["tid"],
        "displayName": request.description,
        "state": "Enabled",
    }
    return _json({"value": [subscription], "count": {"type": "Total", "value": 1}})


def _blob(request: Request) -> Response:
    """Return any blob: its content is the description of the token (Azure Blob Storage)."""
    headers = {
        "Last-Modified": formatdate(usegmt=True),
        "ETag": '"0x1"',
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": formatdate(usegmt=True),
        "x-ms-lease-state": "available",
        "x-ms-lease-status": "unlocked",
        "x-ms-resource-type": "file",
        "x-ms-server-encrypted": "true",
        "x-ms-version": "2021-12-02",
        "Accept-Ranges": "bytes",
    }
    content = request.description
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.span)
    if found is None:
        return Response(200, content, "application/octet-stream", headers)
    first, last = int(found[1]), min(int(found[2] or len(content)), len(content) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(206, content[first : last + 1], "application/octet-stream", headers)


def _setting(request: Request) -> Response:
    """Return any setting: its value is the description of the token (Azure App Configuration)."""
    return _json({"key": request.path.rpartition("/")[2], "value": request.description, "content_type": ""})


def _query(request: Request) -> Response:
    """Return the result of any query: a cell with the description of the token (Azure Monitor Logs)."""
    columns = [{"name": "token", "type": "string"}]
    return _json({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": [[request.description]]}]})


def _described(request: Request) -> Response:
    """Return the description of the token, for programs that only add it to requests of others."""
    return Response(200, request.description)


def _subjects(request: Request) -> Response:
    """List the one subject of a schema registry: the description of the token."""
    return _json([request.description])


def _entra_error(description: str) -> str:
    return json.dumps({"error": "temporarily_unavailable", "error_description": description})


_THROTTLED = _entra_error("AADSTS90055: There are too many incoming requests.")
_UNAVAILABLE = _entra_error("AADSTS90033: A transient error has occurred. Please try again.")
_FAILURES = {
    "throttled": Response(429, _THROTTLED, headers={"Retry-After": "1"}),
    "unavailable": Response(503, _UNAVAILABLE),
}
"""The answers of an Entra that always fails, by the first segment of the path."""
SERVICES = {
    "subscriptions": ((MANAGEMENT, _CLASSIC_MANAGEMENT), _subscriptions),
    "account": ((STORAGE,), _blob),
    "kv": ((CONFIGURATION,), _setting),
    "v1": ((LOGS,), _query),
    "receive": ((INGESTION,), _described),
    "manage": ((MANAGEMENT,), _described),
    "federated": ((MANAGEMENT,), _described),
    "subjects": ((MANAGEMENT,), _subjects),
}
"""By the first segment of the path: the accepted audiences, and the function that answers."""


def exchange(form: str) -> Response:
    """Exchange a token (RFC 8693, as Google's Security Token Service does): here for itself."""
    token = parse_qs(form)["subject_token"][0]
    kind = "urn:ietf:params:oauth:token-type:access_token"
    return _json({"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3600})


def respond(target: str, body: str, authorization: str, span: str = "") -> Response:
    """Answer a request by its path, if the bearer token in `authorization` is for the service."""
    path = urlsplit(target).path
    if path == "/sts/token":
        return exchange(body)
    name = path.split("/")[1]
    if name in _FAILURES:
        return _FAILURES[name]
    service = SERVICES.get(name)
    if service is None:
        return _refusal(404, "ResourceNotFound", f"there is no {path}")
    audiences, answer = service
    token = authorization.removeprefix("Bearer ")
    if token == authorization:
        return _refusal(401, "AuthenticationFailed", "there is no token")
    request = Request(path, token, span)
    if request.claims["aud"].rstrip("/") not in audiences:
        return _refusal(401, "InvalidAuthenticationToken", f"the token is for {request.claims['aud']}")
    return answer(request)


def _json(document: object) -> Response:
    return Response(200, json.dumps(document))


def _refusal(status: int, code: str, message: str) -> Response:
    return Response(status, json.dumps({"error": {"code": code, "message": message}}))


class Handler(http.server.BaseHTTPRequestHandler):
    """Reads a request and writes its answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        span = self.headers.get("x-ms-range", self.headers.get("Range", ""))
        response = respond(self.path, body, self.headers.get("Authorization", ""), span)
        content = response.body.encode()
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer as GET: the body only matters to the token exchange."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing."""


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
