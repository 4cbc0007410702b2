"""A team of the shared cluster: a namespace with a service account that may act as a managed identity."""

import base64
import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import urllib3

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import ACCOUNT, Manifest, account, namespace
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.demo.azure import Verifier
from wisp_local.demo.steps import TOKEN_PATH

METADATA = "http://169.254.169.254"
TOKEN = METADATA + TOKEN_PATH
TOKEN_FILE = "/var/run/secrets/azure/wi/token/azure-identity-token"
_STATUS = "\n%{http_code}"
_PATIENCE = 120  # seconds
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Response:
    """A response to an application. Status 0 means that there was none, and `text` is then curl's error."""

    status: int
    text: str

    @property
    def document(self) -> dict[str, str]:
        """The JSON document in the body."""
        document: dict[str, str] = json.loads(self.text)
        return document


@dataclass(frozen=True)
class Team:
    """A team in `namespace` of `site`, where the service account `app` may act as `identity`."""

    cluster: Cluster
    namespace: str
    identity: ManagedIdentity

    @property
    def subject(self) -> str:
        """The service account as the subject of its tokens."""
        return f"system:serviceaccount:{self.namespace}:{ACCOUNT}"

    def make(self, *manifests: Manifest) -> str:
        """Create objects in the namespace; return the output of kubectl, with warnings."""
        objects = [
            {**manifest, "metadata": {**manifest["metadata"], "namespace": self.namespace}} for manifest in manifests
        ]
        return self.cluster.apply(*objects)

    def rejection(self, manifest: Manifest) -> str:
        """Try to create an object, which is rejected; return the errors of kubectl."""
        done = self.cluster.try_kubectl("create", "-n", self.namespace, "-f", "-", given=json.dumps(manifest))
        assert done.returncode != 0, done.stdout
        return done.stderr

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace and return its output."""
        return self.cluster.kubectl("-n", self.namespace, *arguments)

    def get(self, *arguments: str) -> Any:
        """Return an object of the namespace, or a list of objects."""
        return self.cluster.get("-n", self.namespace, *arguments)

    def wait_until_ready(self, *pods: str) -> None:
        """Wait until the pods are ready."""
        for pod in pods:
            self.cluster.wait_until_ready(pod, self.namespace)

    def wait_until_ended(self, pod: str, phase: str = "Succeeded") -> None:
        """Wait until the pod has ended."""
        self.kubectl("wait", f"--for=jsonpath={{.status.phase}}={phase}", f"pod/{pod}", f"--timeout={_PATIENCE}s")

    def run(self, pod: str, *command: str, container: str = "") -> str:
        """Run a command in a pod and return its output; without `container`, in kubectl's default container."""
        chosen = ("-c", container) if container else ()
        return self.kubectl("exec", pod, *chosen, "--", *command)

    def ask(self, pod: str, *arguments: str, url: str = TOKEN, container: str = "") -> Response:
        """Let the application in a pod send a request with curl; `arguments` replace the Metadata header."""
        headers = arguments or ("-H", "Metadata:true")
        chosen = ("-c", container) if container else ()
        done = self.cluster.try_kubectl("exec", pod, "-n", self.namespace, *chosen, "--", *curl(url, *headers))
        return parse_response(done.stdout) if done.returncode == 0 else Response(0, done.stderr)

    def claims(self, response: Response) -> dict[str, object]:
        """Return the claims of the token in a response, after checking that it is this team's and signed by Entra."""
        assert response.status == 200, response
        return self.verified(response.document["access_token"], float(response.document["not_before"]) + 1)

    def verified(self, token: str, now: float) -> dict[str, object]:
        """Return the claims of a token, after checking that it is this team's and signed by Entra."""
        claims = self.verifier.verify(Secret(token), now).claims
        assert (claims["appid"], claims["oid"]) == (self.identity.client_id, self.identity.principal_id)
        return claims

    def service_account_claims(self, pod: str, file: str = TOKEN_FILE) -> dict[str, Any]:
        """Return the claims of the service account token in the pod, without verifying it."""
        return payload(self.run(pod, "cat", file))

    @cached_property
    def verifier(self) -> Verifier:
        """The verifier of Entra's tokens."""
        return Verifier.published(
            f"{self.cluster.cloud.url}/{self.identity.tenant_id}/", Path(self.cluster.cloud.ca_file)
        )

    def exchanges(self) -> list[str]:
        """Return the URLs of Entra's pages about this team's token requests, the newest first."""
        with urllib3.PoolManager(ca_certs=self.cluster.cloud.ca_file) as pool:
            rows = pool.request("GET", f"{self.cluster.cloud.url}/exchanges").data.decode().split("<tr ")
        own = [row for row in rows if f">{self.namespace}:{ACCOUNT}</span>" in row]
        return [self.cluster.cloud.url + re.findall(r'href="(/exchanges/[^"]+)"', row)[0] for row in own]

    def exchange(self, page: str) -> str:
        """Return the HTML of such a page."""
        with urllib3.PoolManager(ca_certs=self.cluster.cloud.ca_file) as pool:
            return pool.request("GET", page).data.decode()


def curl(url: str, *arguments: str) -> tuple[str, ...]:
    """Return a command that requests `url`; `parse_response` reads its output."""
    return ("curl", "-sS", "--noproxy", "*", "--max-time", "120", "-w", _STATUS, *arguments, url)


def parse_response(output: str) -> Response:
    """Read the output of `curl`."""
    text, _, status = output.rpartition("\n")
    return Response(int(status), text)


def payload(token: str) -> dict[str, Any]:
    """Return the claims of a JWT (RFC 7519)."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def make_team(cluster: Cluster, name: str, *manifests: Manifest, labels: dict[str, str] | None = None) -> Team:
    """Make a team whose namespace and identity are called `name`, and create `manifests` in the namespace."""
    team = Team(cluster, name, cluster.identity(name, (name, ACCOUNT)))
    cluster.apply(namespace(name, labels or {}))
    team.make(account(team.identity.client_id), *manifests)
    return team


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the function's results for all items, computed at the same time."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, items))
