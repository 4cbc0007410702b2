"""The token gateway in a cluster: its installation, service account tokens for it, and requests of its callers."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster.api import Api
from tests.cluster.cluster import NAMESPACE, Cluster, eventually
from tests.cluster.manifests import PREFIX, SIDECAR
from wisp.base.pem import pem_blocks
from wisp.gateway.types import AUDIENCE
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.lab.node.node import Node
from wisp_local.sandbox.processes import ProcessIdentity

NAME = "wisp-gateway"
"""Of its Deployment, its Service and its service account."""
SECRET = f"{NAME}-tls"
SERVER_NAME = f"{NAME}.{NAMESPACE}.svc"
BINDING = {f"{PREFIX}use-identity-binding": "true"}
"""The annotation of a pod that asks for the gateway."""
BOUND = {**SIDECAR, **BINDING}
HERE = ("-n", NAMESPACE)
_PROGRAM = Path(__file__).with_name("callers.py")
_PATIENCE = 120  # seconds
_PAUSE = 0.4  # seconds between two requests of a caller
_PROBE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "probe", "labels": {f"{PREFIX}use": "true"}, "annotations": BOUND},
    "spec": {"containers": [{"name": "probe", "image": "wisp.test/pause:1"}]},
}


class Outcome(NamedTuple):
    """What came of a request. The status is 0 without a response, and `error` then the name of the exception."""

    caller: str
    status: int
    error: str
    description: str
    retry_after: str | None
    client_id: str
    """Of the identity whose token it is."""


class Caller(NamedTuple):
    """A caller with a service account token that asks for an identity."""

    name: str
    token: str
    client_id: str


@dataclass
class Calls:
    """The requests so far."""

    outcomes: list[Outcome] = field(default_factory=list)


def install(cluster: Cluster, *settings: str) -> None:
    """Install the chart with the gateway, and wait until pods that ask for it are admitted."""
    cluster.install("gateway.enabled=true", *settings)
    eventually(lambda: _is_admitted(cluster), "the webhook to know the gateway's CA")


def _is_admitted(cluster: Cluster) -> bool:
    return cluster.try_kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(_PROBE)).returncode == 0


def identity(cluster: Cluster, name: str) -> ManagedIdentity:
    """Make a managed identity that trusts the gateway's service account only: one federated credential."""
    return cluster.identity(name, (NAMESPACE, NAME))


def token(api: Api, namespace: str, account: str, **spec: Any) -> str:
    """Return a token of the service account for the gateway; `spec` has more fields of the TokenRequest."""
    body = {"spec": {"audiences": [AUDIENCE], "expirationSeconds": 3600, **spec}}
    answer = api.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", body)
    assert answer.status == 201, answer
    return str(answer.document["status"]["token"])


def secret(cluster: Cluster) -> dict[str, bytes]:
    """Return the certificates and keys of the gateway."""
    data = cluster.get("secret", SECRET, *HERE).get("data") or {}
    return {name: base64.b64decode(value) for name, value in data.items()}


def newest_ca(cluster: Cluster) -> str:
    """Return the CA that issues the gateway's certificates, as PEM."""
    return pem_blocks(secret(cluster)["ca.crt"])[0].decode()


def replace_certificates(cluster: Cluster) -> None:
    """Empty the Secret: a replica makes a CA and a certificate, and the old CA signs the new one."""
    before = secret(cluster)["tls.crt"]
    removal = '-p=[{"op": "remove", "path": "/data"}]'
    cluster.kubectl("patch", "secret", SECRET, *HERE, "--type=json", removal)
    eventually(lambda: secret(cluster).get("tls.crt", before) != before, "another certificate")


def wait_for_newest_ca(cluster: Cluster, caller: Caller) -> None:
    """Wait until all replicas present a certificate of the newest CA; `caller` may have a token."""
    newest = newest_ca(cluster)

    def presented() -> bool:
        several = [caller._replace(name=str(number)) for number in range(8)]
        with calls(cluster, several, requests=1, ca=newest) as made:
            pass
        return {outcome.status for outcome in made.outcomes} == {200}

    eventually(presented, "certificates of the newest CA")


def ask(cluster: Cluster, *callers: Caller, tenant: str = "") -> list[Outcome]:
    """Send a request of every caller at the same time; return the outcomes in the order of the callers."""
    with calls(cluster, callers, requests=1, tenant=tenant) as made:
        pass
    by_name = {outcome.caller: outcome for outcome in made.outcomes}
    return [by_name[caller.name] for caller in callers]


@contextmanager
def calls(
    cluster: Cluster, callers: Sequence[Caller], *, requests: int, tenant: str = "", ca: str = ""
) -> Iterator[Calls]:
    """Send requests from the node until the block ends, and `requests` of every caller at least.

    Without `ca`, the callers trust all CAs in the gateway's Secret.
    """
    settings = {
        "address": cluster.get("service", NAME, *HERE)["spec"]["clusterIP"],
        "server_name": SERVER_NAME,
        "ca": ca or secret(cluster)["ca.crt"].decode(),
        "tenant": tenant or cluster.tenant_id,
        "callers": [caller._asdict() for caller in callers],
        "requests": requests,
        "pause": _PAUSE if requests > 1 else 0,
    }
    command = [*inside(cluster.node), sys.executable, str(_PROGRAM)]
    made = Calls()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = process.stdout
        reader = threading.Thread(target=lambda: made.outcomes.extend(Outcome(*json.loads(line)) for line in lines))
        reader.start()
        try:
            process.stdin.write(f"{json.dumps(settings)}\n")
            process.stdin.flush()
            yield made
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdin.close()
            reader.join()
    assert process.returncode == 0


def inside(node: Node, pid: int | None = None) -> tuple[str, ...]:
    """Return the prefix of a command that runs in the node's network, or in that of a process."""
    if pid is None:
        first = ProcessIdentity.read(node.layout.process)
        assert first is not None
        pid = first.pid
    return ("nsenter", f"--net=/proc/{pid}/ns/net", "--")


def grant_environment(cluster: Cluster) -> Mapping[str, str]:
    """Return the environment of an administrator's commands: kubectl and its kubeconfig."""
    kubectl = cluster.node.binaries.kubectl
    return {
        "PATH": f"{kubectl.parent}:/usr/bin:/bin",
        "HOME": str(cluster.node.folder),
        "KUBECONFIG": str(cluster.node.kubeconfig),
    }


def shell(cluster: Cluster, command: str) -> str:
    """Run a command that the gateway has printed, as the administrator; return its output."""
    done = subprocess.run(
        ["sh", "-ec", command],
        env=grant_environment(cluster),
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def remove_grants(cluster: Cluster, client_id: str) -> None:
    """Delete the roles and bindings for an identity."""
    names = cluster.kubectl("get", "clusterrole,clusterrolebinding", "-o", "name").split()
    found = [name for name in names if f"wisp-gateway:{client_id}" in name]
    cluster.kubectl("delete", "--wait=false", *found)


def wisp_gateway(cluster: Cluster, *arguments: str) -> str:
    """Run `wisp gateway` with a subcommand, as the administrator; return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "wisp", "gateway", *arguments],
        env=grant_environment(cluster),
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
