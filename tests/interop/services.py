"""`services.py HOST CERTIFICATE KEY`: Azure's services as far as the client programs use them, at an https URL.

Each service takes only a bearer token for its own audience, and what is read from it are the token's claims. A program
that prints what it read therefore shows that it used its token, and whose it was. Signatures are not checked here: the
tests compare the claims with the identity that the local cloud knows.
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
_SHOWN = ("appid", "oid", "aud")
_JSON = "application/json"


class Request(NamedTuple):
    """A request for `path` that shows `token`; `span` is its Range header, or empty."""

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
        """Return what may be shown of the token, as JSON."""
        shown = {name: self.claims[name] for name in _SHOWN}
        return json.dumps({**shown, "token_sha256": hashlib.sha256(self.token.encode()).hexdigest()})


class Response(NamedTuple):
    """A response; `headers` besides those that every response has."""

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
    """Give the blob that is asked for, whichever it is: the description of the token (Azure Blob Storage)."""
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
    """Give the setting that is asked for, whichever it is: the description of the token (Azure App Configuration)."""
    return _json({"key": request.path.rpartition("/")[2], "value": request.description, "content_type": ""})


def _query(request: Request) -> Response:
    """Give the answer to a query: a cell with the description of the token (Azure Monitor Logs)."""
    columns = [{"name": "token", "type": "string"}]
    return _json({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": [[request.description]]}]})


def _described(request: Request) -> Response:
    """Give the description of the token to a program that only adds it to requests of others."""
    return Response(200, request.description)


def _subjects(request: Request) -> Response:
    """List the one subject of a schema registry: the description of the token."""
    return _json([request.description])


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
"""By the first step of the path: which audiences are taken, and what is answered."""


def exchanged(form: str) -> Response:
    """Give a token for a token (RFC 8693, as Google's Security Token Service does): here the same one."""
    token = parse_qs(form)["subject_token"][0]
    kind = "urn:ietf:params:oauth:token-type:access_token"
    return _json({"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3600})


def respond(target: str, body: str, authorization: str, span: str = "") -> Response:
    """Answer a request by its path, if the bearer token in `authorization` is for the service."""
    path = urlsplit(target).path
    if path == "/sts/token":
        return exchanged(body)
    service = SERVICES.get(path.split("/")[1])
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
        """Answer as to GET: what is sent changes nothing here."""
        self.do_GET()

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
