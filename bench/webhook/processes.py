"""The webhook as a process, with an API server in small beside it, and the yardstick with such a certificate."""

import base64
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import free_port, running_process
from bench.webhook.review import ACCOUNT, CLIENT_ID, NAMESPACE
from tests.support.certificates import server_certificate
from tests.unit.wisp.kubernetes.apiserver import ApiServer, running, service_account

TENANT = "22222222-2222-4222-8222-222222222222"
SERVICE = "wisp-webhook.wisp.svc"
PATH = "/mutate-v1-pod?timeout=10s"
_PATIENCE = 120.0


@dataclass(frozen=True)
class Server:
    """A server that answers over TLS at `port`."""

    pid: int
    port: int
    health_port: int = 0


@dataclass(frozen=True)
class Surroundings:
    """What a webhook finds around it."""

    api: ApiServer
    kubeconfig: Path

    def trusted(self) -> ssl.SSLContext:
        """Return a client's context that trusts what API servers are told to."""
        (webhook,) = self.api.world.get("mutatingwebhookconfigurations", "wisp-webhook")["webhooks"]
        return ssl.create_default_context(cadata=base64.b64decode(webhook["clientConfig"]["caBundle"]).decode())


@contextmanager
def surroundings(folder: Path) -> Iterator[Surroundings]:
    """Run an API server with a service account that has an identity."""
    with running() as api:
        api.world.put("serviceaccounts", service_account(ACCOUNT, NAMESPACE, client_id=CLIENT_ID))
        yield Surroundings(api, api.write_kubeconfig(folder / "kubeconfig"))


@contextmanager
def webhook(around: Surroundings, *flags: str) -> Iterator[Server]:
    """Run a webhook; yield it as soon as it is ready."""
    command = [sys.executable, "-m", "wisp", "webhook", "--tenant-id", TENANT, "--namespace", "wisp", "--port", "0"]
    command += ["--address", "127.0.0.1", "--health-address", "127.0.0.1", "--health-port", "0"]
    command += ["--kubeconfig", str(around.kubeconfig), "--shutdown-delay", "0", *flags]
    with running_process(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None  # noqa: S101 -- asked for
        said = json.loads(process.stderr.readline())
        server = Server(process.pid, said["port"], said["health_port"])
        _await(lambda: _ready(server.health_port), process)
        yield server


@contextmanager
def bare(size: int, folder: Path) -> Iterator[Server]:
    """Run the yardstick with answers of `size` bytes."""
    certificate = server_certificate(SERVICE)
    chain, key = folder / "bare.crt", folder / "bare.key"
    chain.write_bytes(certificate.chain)
    key.write_text(certificate.key.reveal())
    port = free_port()
    command: Sequence[str] = [sys.executable, "-m", "bench.webhook.bare", str(port), str(size), str(chain), str(key)]
    with running_process(command) as process:
        _await(lambda: _listening(port), process)
        yield Server(process.pid, port)


def ask(server: Server, body: bytes, context: ssl.SSLContext) -> tuple[int, bytes, int]:
    """Send one review; return status, body, and the bytes of the whole answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as plain:
        connection = http.client.HTTPConnection(SERVICE)
        connection.sock = context.wrap_socket(plain, server_hostname=SERVICE)
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        head = sum(len(name) + len(value) + 4 for name, value in answer.getheaders()) + len("HTTP/1.1 200 OK\r\n\r\n")
        connection.close()
        return answer.status, content, head + len(content)


def _ready(port: int) -> bool:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
    except OSError:
        return False


def _listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _await(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("a server does not answer: run it by hand to see why")
        time.sleep(0.02)
