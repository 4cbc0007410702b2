"""Servers as processes of their own, and what they stand on: a local authority with an identity, and a token file."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.state.store import Store

READYZ = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
PROXY = (sys.executable, "-m", "wisp.proxy")
_POLL = 0.0005
_PATIENCE = 120.0


@dataclass(frozen=True)
class Pod:
    """What a sidecar finds around it: the injected environment, and an authority that logs what it is asked."""

    environment: Mapping[str, str]
    authority_log: Path
    names: Mapping[str, str]
    """Variables for the identity's other names, which a sidecar can do without."""

    def round_trips(self) -> list[str]:
        """Return the authority's requests so far, as `METHOD path`."""
        lines = [json.loads(line) for line in self.authority_log.read_text().splitlines() if line.startswith("{")]
        return [f"{line['method']} {line['path']}" for line in lines if line["event"] == "request"]


@dataclass(frozen=True)
class Server:
    """A server that answers, at `port`; `ready_after` is in seconds since its start, `worked` in those on a CPU."""

    pid: int
    port: int
    ready_after: float
    worked: float


class Memory(NamedTuple):
    """What a process occupies, in MB of 1,000,000 bytes: in all, and of its own, which counts against a limit."""

    resident: float
    anonymous: float

    @classmethod
    def of(cls, pid: int) -> "Memory":
        """Read it from the kernel."""
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        resident, anonymous = (int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "RssAnon"))
        return cls(resident, anonymous)

    def __str__(self) -> str:
        return f"{self.resident:.1f} / {self.anonymous:.1f}"


@contextmanager
def pod(folder: Path) -> Iterator[Pod]:
    """Run a local authority in `folder`, with an identity federated with a service account, and mint its token."""
    state, log = folder / "cloud.db", folder / "cloud.log"
    command = [sys.executable, "-m", "wisp", "cloud", "serve", "--state", str(state), "--port", "0"]
    with log.open("wb") as errors, running_process(command, stdout=subprocess.PIPE, stderr=errors) as cloud:
        said = json.loads(cloud.stdout.readline() if cloud.stdout else "{}")
        identity, token_file = _federated(state, said["url"])
        names = {"AZURE_OBJECT_ID": identity.principal_id, "AZURE_RESOURCE_ID": identity.resource_id}
        yield Pod(os.environ | _environment(identity, token_file, said["url"], said["ca_file"]), log, names)


def _federated(state: Path, url: str) -> tuple[ManagedIdentity, Path]:
    """Return a new identity, and the file of a token that it is federated with."""
    with Store(state) as store:
        store.put_resource_group("bench", "eastus")
        identity = store.put_identity("bench", "bench", "eastus")
        issuer = store.issuers.put("bench")
        projection = Projection("bench", "bench")
        issuer_url = url + issuer.path
        store.put_federated_credential(identity, "bench", issuer=issuer_url, subject=projection.subject)
        token = service_account_token(issuer, issuer_url, projection, now=time.time())
    file = state.with_name("token")
    file.write_text(token.reveal())
    return identity, file


def _environment(identity: ManagedIdentity, token_file: Path, url: str, ca_file: str) -> dict[str, str]:
    return {
        "AZURE_CLIENT_ID": identity.client_id,
        "AZURE_TENANT_ID": identity.tenant_id,
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        "AZURE_AUTHORITY_HOST": f"{url}/",
        "SSL_CERT_FILE": ca_file,
    }


@contextmanager
def sidecar(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Server]:
    """Run a proxy that takes --proxy-port; yield it as soon as it says that it is ready."""
    port = free_port()
    with serving([*command, "--proxy-port", str(port)], port, environment) as server:
        yield server


@contextmanager
def bare(size: int) -> Iterator[Server]:
    """Run the yardstick with answers of `size` bytes."""
    port = free_port()
    command = [sys.executable, "-m", "bench.bare", str(port), str(size)]
    with serving(command, port, os.environ) as server:
        yield server


@contextmanager
def serving(command: Sequence[str], port: int, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run a server until the block ends; yield it as soon as it answers /readyz."""
    begun = time.perf_counter()
    with running_process(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() - begun > _PATIENCE:
                raise RuntimeError(f"{command[0]} does not answer on port {port}: run it by hand to see why")
            time.sleep(_POLL)
        yield Server(process.pid, port, time.perf_counter() - begun, _on_cpu(process.pid))


@contextmanager
def running_process(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends."""
    with subprocess.Popen(command, **options) as process:  # type: ignore[call-overload]  # options are Popen's own
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()


def children(pid: int) -> list[int]:
    """Return the ids of the processes that the main thread of a process has started and that still run."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _on_cpu(pid: int) -> float:
    """Return the seconds that a process' main thread has run (Linux, Documentation/scheduler/sched-stats)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _is_ready(port: int) -> bool:
    """Say whether whoever listens on `port` answers /readyz with anything at all: other proxies have no such page."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(READYZ)
            return client.recv(65536).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
