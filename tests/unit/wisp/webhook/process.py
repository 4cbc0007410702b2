"""The webhook as a process, asked as an API server asks: trusting what its configuration says at that moment."""

import base64
import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE
from tests.unit.wisp.kubernetes.apiserver import ApiServer

TENANT = "22222222-2222-4222-8222-222222222222"
CLIENT_ID = "11111111-1111-4111-8111-111111111111"
SERVICE = "wisp-webhook.wisp.svc"
COMMAND = [sys.executable, "-m", "wisp", "webhook", "--tenant-id", TENANT, "--namespace", "wisp", "--port", "0"]
COMMAND += ["--health-port", "0", "--address", "127.0.0.1", "--health-address", "127.0.0.1", "--shutdown-delay", "0"]


def review(account: str = "web", *, uid: str = "u", **pod: Any) -> bytes:
    """Return a review of a labelled pod in the namespace default."""
    document = {
        "metadata": {"name": "p", "namespace": "default", "labels": {"azure.workload.identity/use": "true"}},
        "spec": {"serviceAccountName": account, "containers": [{"name": "main", "image": "app:1"}]},
        **pod,
    }
    request = {
        "uid": uid,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "default",
        "operation": "CREATE",
        "object": document,
    }
    return json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).encode()


class Connection:
    """A persistent connection, as API servers use."""

    def __init__(self, port: int, context: ssl.SSLContext, patience: float = PATIENCE) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self._http = http.client.HTTPConnection(SERVICE)
        try:
            self.socket = context.wrap_socket(plain, server_hostname=SERVICE)
        except BaseException:
            plain.close()
            raise
        self._http.sock = self.socket

    def post(self, body: bytes, path: str = "/mutate-v1-pod?timeout=10s", method: str = "POST") -> tuple[int, bytes]:
        """Send one request; return status and body."""
        self._http.request(method, path, body, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        return answer.status, answer.read()

    def review(self, body: bytes) -> dict[str, Any]:
        """Send one review; return the response in the answer."""
        status, text = self.post(body)
        assert status == 200, (status, text)
        answer: dict[str, Any] = json.loads(text)["response"]
        return answer

    def close(self) -> None:
        """Hang up."""
        self._http.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Webhook(ServerProcess):
    """A running webhook."""

    def __init__(self, api: ApiServer, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(process)
        self.api = api

    def connect(self, context: ssl.SSLContext | None = None) -> Connection:
        """Connect as an API server does at this moment."""
        return Connection(self.port, context or trusted(self.api))

    def review(self, body: bytes, context: ssl.SSLContext | None = None) -> dict[str, Any]:
        """Put one review on a connection of its own."""
        with self.connect(context) as connection:
            return connection.review(body)


def bundle(api: ApiServer) -> bytes:
    """Return the CA bundle of the configuration."""
    (webhook,) = api.world.get("mutatingwebhookconfigurations", "wisp-webhook")["webhooks"]
    return base64.b64decode(webhook["clientConfig"].get("caBundle", ""))


def trusted(api: ApiServer) -> ssl.SSLContext:
    """Return a client that trusts that."""
    context = ssl.create_default_context(cadata=bundle(api).decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


@contextlib.contextmanager
def webhook(api: ApiServer, folder: Path, *flags: str, wrapper: tuple[str, ...] = ()) -> Iterator[Webhook]:
    """Run a webhook against `api`; it need not be ready yet."""
    kubeconfig = api.write_kubeconfig(folder / "kubeconfig")
    command = [*wrapper, *COMMAND, "--kubeconfig", str(kubeconfig), *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        hook = Webhook(api, process)
        try:
            yield hook
        finally:
            hook.kill()
