"""A small API server over real TLS: paged lists, watches, version conflicts, and faults on request.

It supports the requests of wisp: for service accounts, Secrets, webhook configurations, roles with their bindings, and
the reviews of callers.
"""

import base64
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.support.certificates import server_certificate
from tests.support.waiting import PATIENCE
from tests.unit.wisp.kubernetes.callers import Callers
from wisp.base.secret import Secret
from wisp.http.tls import load_pem

Object = dict[str, Any]
TOKEN = "the-webhook's-own"
_GROUPS = r"(?:api|apis/admissionregistration\.k8s\.io|apis/rbac\.authorization\.k8s\.io)/v1"
_PATH = re.compile(rf"/{_GROUPS}(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?")
_REVIEWS = {
    "/apis/authentication.k8s.io/v1/tokenreviews": "TokenReview",
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": "SubjectAccessReview",
}


class Change(NamedTuple):
    """A change of an object."""

    version: int
    resource: str
    kind: str
    object: Object


class RefusalError(Exception):
    """A request that is answered with a Kubernetes Status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class World:
    """The objects, by resource, namespace and name; every change has a version and notifies watches."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.changes: list[Change] = []
        self.version = 100
        self.oldest = 0
        self.generation = 0
        self.requests: list[str] = []
        self.callers = Callers()
        self.fault: Callable[[str, str], int | None] = lambda _method, _path: None
        """Returns the HTTP status to answer instead, 0 to close the connection, or None for no fault.

        It may raise RefusalError.
        """

    def put(self, resource: str, document: Object) -> Object:
        """Store a document, as another client would."""
        with self.changed:
            key = self._key(resource, document)
            kind = "MODIFIED" if key in self.objects else "ADDED"
            return self._store(key, kind, document)

    def delete(self, resource: str, name: str, namespace: str = "") -> None:
        """Delete a document."""
        with self.changed:
            self._store((resource, namespace, name), "DELETED", self.objects[resource, namespace, name])

    def expire(self) -> None:
        """Discard the history, as a compaction of etcd does: older watches get a 410."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.generation += 1
            self.changed.notify_all()

    def break_watches(self) -> None:
        """Close the connection of every watch."""
        with self.changed:
            self.generation += 1
            self.changed.notify_all()

    def count_requests(self, fragment: str) -> int:
        """Count the requests with `fragment` in them."""
        return sum(fragment in request for request in self.requests)

    def get(self, resource: str, name: str, namespace: str = "") -> Object:
        """Return a document."""
        with self.changed:
            return self.objects[resource, namespace, name]

    def create(self, resource: str, document: Object) -> Object:
        """Store a new document. Raise RefusalError if it exists."""
        with self.changed:
            key = self._key(resource, document)
            if key in self.objects:
                raise RefusalError(409, f'{resource} "{key[2]}" already exists')
            return self._store(key, "ADDED", document)

    def update(self, resource: str, document: Object) -> Object:
        """Replace a document. Raise RefusalError unless its version is the current one."""
        with self.changed:
            key = self._key(resource, document)
            held = self._held(key)
            if document["metadata"].get("resourceVersion") != held["metadata"]["resourceVersion"]:
                raise RefusalError(409, "the object has been modified; please apply your changes to the latest version")
            return self._store(key, "MODIFIED", document)

    def patch(self, resource: str, name: str, operations: list[Object]) -> Object:
        """Apply `test` and `add` of RFC 6902."""
        with self.changed:
            key = (resource, "", name)
            document = json.loads(json.dumps(self._held(key)))
            for operation in operations:
                *parents, last = [int(step) if step.isdigit() else step for step in operation["path"].split("/")[1:]]
                parent = document
                for step in parents:
                    parent = parent[step]
                if operation["op"] == "test" and parent[last] != operation["value"]:
                    raise RefusalError(422, "the server rejected our request due to an error in our request")
                if operation["op"] == "add":
                    parent[last] = operation["value"]
            return self._store(key, "MODIFIED", document)

    def remove(self, key: tuple[str, str, str], preconditions: Object) -> Object:
        """Delete a document. Raise RefusalError unless it is the one that the preconditions describe."""
        with self.changed:
            held = self._held(key)
            if any(held["metadata"].get(name) != value for name, value in preconditions.items()):
                raise RefusalError(409, "the object has been modified; please apply your changes to the latest version")
            return self._store(key, "DELETED", held)

    def list(self, resource: str, namespace: str | None, name: str | None) -> list[Object]:
        """Return the documents, in order of their names."""
        return [
            document
            for (kind, place, object_name), document in sorted(self.objects.items(), key=lambda item: item[0])
            if kind == resource and namespace in (None, place) and name in (None, object_name)
        ]

    def _held(self, key: tuple[str, str, str]) -> Object:
        if key not in self.objects:
            raise RefusalError(404, f'{key[0]} "{key[2]}" not found')
        return self.objects[key]

    def _key(self, resource: str, document: Object) -> tuple[str, str, str]:
        metadata = document["metadata"]
        return resource, metadata.get("namespace", ""), metadata["name"]

    def _store(self, key: tuple[str, str, str], kind: str, document: Object) -> Object:
        self.version += 1
        stored = {**document, "metadata": {**document["metadata"], "resourceVersion": str(self.version)}}
        if kind == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = stored
        self.changes.append(Change(self.version, key[0], kind, stored))
        self.changed.notify_all()
        return stored


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def log_message(self, *_: object) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 -- http.server's names

    def _answer(self) -> None:
        world = self.server.world
        world.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            fault = world.fault(self.command, self.path)
            if fault == 0:
                self.close_connection = True
            elif fault is not None:
                raise RefusalError(fault, "a fault on request")  # noqa: TRY301 -- answered just below
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise RefusalError(401, "Unauthorized")  # noqa: TRY301 -- answered just below
            else:
                self._route(body)
        except RefusalError as refusal:
            status = {"kind": "Status", "message": refusal.message, "code": refusal.code}
            self._send(refusal.code, json.dumps(status).encode())

    def _route(self, body: bytes) -> None:
        world, url = self.server.world, urlsplit(self.path)
        if url.path == "/version":
            self._send(200, json.dumps({"gitVersion": self.server.git_version}).encode())
            return
        if url.path == "/readyz":
            self._send(200 if world.callers.ready else 500, b"ok")
            return
        if self.command == "POST" and url.path in _REVIEWS:
            self._review(url.path, json.loads(body))
            return
        match = _PATH.fullmatch(url.path)
        if match is None:
            raise RefusalError(404, "the server could not find the requested resource")
        namespace, resource, name = match.groups()
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if self.command == "GET" and name is None and query.get("watch"):
            self._watch(resource, namespace, query)
        elif self.command == "GET" and name is None:
            self._list(resource, namespace, query)
        else:
            self._send(200, json.dumps(self._one(world, resource, (namespace, name), body)).encode())

    def _review(self, path: str, review: Object) -> None:
        callers = self.server.world.callers
        time.sleep(callers.latency)
        assert review["kind"] == _REVIEWS[path]
        answers = {"TokenReview": callers.review_token, "SubjectAccessReview": callers.review_access}
        self._send(201, json.dumps({**review, "status": answers[review["kind"]](review["spec"])}).encode())

    def _one(self, world: World, resource: str, place: tuple[str | None, str | None], body: bytes) -> Object:
        namespace, name = place
        if self.command == "GET":
            with world.changed:
                return world._held((resource, namespace or "", name or ""))
        document = json.loads(body)
        if self.command == "DELETE":
            return world.remove((resource, namespace or "", name or ""), document.get("preconditions", {}))
        if self.command == "POST":
            return world.create(resource, document)
        if self.command == "PUT":
            return world.update(resource, document)
        return world.patch(resource, name or "", document)

    def _list(self, resource: str, namespace: str | None, query: dict[str, str]) -> None:
        world = self.server.world
        with world.changed:
            found = world.list(resource, namespace, _selected(query))
            start = int(query.get("continue", "0"))
            end = start + int(query.get("limit", "500"))
            metadata = {"resourceVersion": str(world.version)}
            if end < len(found):
                metadata["continue"] = str(end)
            self._send(200, json.dumps({"metadata": metadata, "items": found[start:end]}).encode())

    def _watch(self, resource: str, namespace: str | None, query: dict[str, str]) -> None:
        world, name = self.server.world, _selected(query)
        version, generation = int(query["resourceVersion"]), world.generation
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while not self.server.stopping:
                if version < world.oldest:
                    self._line({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
                    break
                for change in [entry for entry in list(world.changes) if entry.version > version]:
                    version = change.version
                    metadata = change.object["metadata"]
                    fits = namespace in (None, metadata.get("namespace", "")) and name in (None, metadata["name"])
                    if change.resource == resource and fits:
                        self._line({"type": change.kind, "object": change.object})
                if world.generation != generation:
                    return  # without the last chunk: a connection that broke
                with world.changed:
                    if world.version == version or not world.changes or world.changes[-1].version <= version:
                        world.changed.wait(0.2)
            self.wfile.write(b"0\r\n\r\n")

    def _line(self, event: Object) -> None:
        line = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _selected(query: dict[str, str]) -> str | None:
    selector = query.get("fieldSelector")
    return None if selector is None else selector.removeprefix("metadata.name=")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, world: World, context: ssl.SSLContext, git_version: str) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.world = world
        self.context = context
        self.git_version = git_version
        self.stopping = False
        self.open: set[socket.socket] = set()
        self.accepted = 0

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError):  # the other side hung up
            request.settimeout(PATIENCE)
            with self.context.wrap_socket(request, server_side=True) as wrapped:
                self.open.add(wrapped)
                self.accepted += 1
                try:
                    _Handler(wrapped, client_address, self)
                finally:
                    self.open.discard(wrapped)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: tests break connections deliberately."""


class ApiServer:
    """Objects, and a server that can be stopped and started again at the same port."""

    def __init__(self, git_version: str = "v1.34.4") -> None:
        self.world = World()
        self._certificate = server_certificate("localhost")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_pem(self._context, self._certificate.chain, self._certificate.key.reveal().encode())
        self._git_version = git_version
        self._server: _Server | None = None
        self.port = 0

    def start(self) -> None:
        """Start serving."""
        self._server = _Server(self.port, self.world, self._context, self._git_version)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse new connections and close existing ones."""
        server, self._server = self._server, None
        if server is not None:
            server.stopping = True
            server.shutdown()
            server.server_close()
            self.world.break_watches()
            for connection in list(server.open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @property
    def accepted(self) -> int:
        """How many connections there have been since it started."""
        return 0 if self._server is None else self._server.accepted

    @property
    def ca(self) -> bytes:
        """The authority of the server's certificate."""
        return self._certificate.ca

    @property
    def token(self) -> Secret:
        """The bearer token that the server accepts."""
        return Secret(TOKEN)

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this server."""
        cluster = {
            "server": f"https://localhost:{self.port}",
            "certificate-authority-data": base64.b64encode(self.ca).decode(),
        }
        document = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": TOKEN}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path


@contextmanager
def running() -> Iterator[ApiServer]:
    """Run an API server that has only a webhook configuration."""
    server = ApiServer()
    server.start()
    server.world.put("mutatingwebhookconfigurations", webhook_configuration())
    try:
        yield server
    finally:
        server.stop()


def webhook_configuration(name: str = "wisp-webhook", webhooks: int = 1) -> Object:
    """Return a webhook configuration like the chart's."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {"name": f"mutation{number}.azure-workload-identity.io", "clientConfig": {"service": {"name": name}}}
            for number in range(webhooks)
        ],
    }


def service_account(name: str, namespace: str = "default", **annotations: str) -> Object:
    """Return a service account; annotations are named without prefix, with `_` for `-`."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {
                f"azure.workload.identity/{key.replace('_', '-')}": value for key, value in annotations.items()
            },
        },
    }
