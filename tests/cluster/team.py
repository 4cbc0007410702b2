"""A team of the shared cluster: a namespace, and in it a service account that may act as a managed identity."""

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

from tests.cluster.manifests import ACCOUNT, Manifest, account, namespace
from tests.cluster.site import Site
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
class Heard:
    """What an application heard; status 0: nothing, and `text` is curl's reason."""

    status: int
    text: str

    @property
    def answer(self) -> dict[str, str]:
        """The answer, which is JSON."""
        document: dict[str, str] = json.loads(self.text)
        return document


@dataclass(frozen=True)
class Team:
    """Whoever works in `namespace` of `site`, where the service account `app` may act as `identity`."""

    site: Site
    namespace: str
    identity: ManagedIdentity

    @property
    def subject(self) -> str:
        """The service account, as its tokens say it."""
        return f"system:serviceaccount:{self.namespace}:{ACCOUNT}"

    def make(self, *manifests: Manifest) -> str:
        """Make objects in the namespace; return what kubectl said, warnings included."""
        placed = [{**each, "metadata": {**each["metadata"], "namespace": self.namespace}} for each in manifests]
        return self.site.apply(*placed)

    def refused(self, manifest: Manifest) -> str:
        """Try to make an object, which is refused; return what kubectl said."""
        done = self.site.try_kubectl("create", "-n", self.namespace, "-f", "-", given=json.dumps(manifest))
        assert done.returncode != 0, done.stdout
        return done.stderr

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace; it succeeds."""
        return self.site.kubectl("-n", self.namespace, *arguments)

    def get(self, *arguments: str) -> Any:
        """Return an object of the namespace, or a list of them."""
        return self.site.get("-n", self.namespace, *arguments)

    def ready(self, *pods: str) -> None:
        """Wait until the pods are ready."""
        for each in pods:
            self.site.ready(each, self.namespace)

    def ended(self, pod: str, phase: str = "Succeeded") -> None:
        """Wait until the pod has ended."""
        self.kubectl("wait", f"--for=jsonpath={{.status.phase}}={phase}", f"pod/{pod}", f"--timeout={_PATIENCE}s")

    def run(self, pod: str, *command: str, container: str = "") -> str:
        """Run a command in a pod, which succeeds, in the container that kubectl means unless it is named."""
        chosen = ("-c", container) if container else ()
        return self.kubectl("exec", pod, *chosen, "--", *command)

    def ask(self, pod: str, *arguments: str, url: str = TOKEN, container: str = "") -> Heard:
        """Have the application in a pod ask with curl; `arguments` in place of the Metadata header."""
        said = arguments or ("-H", "Metadata:true")
        chosen = ("-c", container) if container else ()
        done = self.site.try_kubectl("exec", pod, "-n", self.namespace, *chosen, "--", *curl(url, *said))
        return heard(done.stdout) if done.returncode == 0 else Heard(0, done.stderr)

    def claims(self, heard: Heard) -> dict[str, object]:
        """Return what the token says that was heard: it is of this team's identity, and Entra's keys verify it."""
        assert heard.status == 200, heard
        return self.verified(heard.answer["access_token"], float(heard.answer["not_before"]) + 1)

    def verified(self, token: str, now: float) -> dict[str, object]:
        """Return what a token says: it is of this team's identity, and Entra's keys verify it."""
        claims = self.verifier.verify(Secret(token), now).claims
        assert (claims["appid"], claims["oid"]) == (self.identity.client_id, self.identity.principal_id)
        return claims

    def service_account_claims(self, pod: str, file: str = TOKEN_FILE) -> dict[str, Any]:
        """Return what the service account token says that is in the pod for the exchange; it verifies nothing."""
        return payload(self.run(pod, "cat", file))

    @cached_property
    def verifier(self) -> Verifier:
        """What verifies Entra's tokens."""
        return Verifier.published(f"{self.site.cloud.url}/{self.identity.tenant_id}/", Path(self.site.cloud.ca_file))

    def exchanges(self) -> list[str]:
        """Return Entra's own pages about the token requests that came from this team, the newest first."""
        with urllib3.PoolManager(ca_certs=self.site.cloud.ca_file) as pool:
            rows = pool.request("GET", f"{self.site.cloud.url}/exchanges").data.decode().split("<tr ")
        own = [each for each in rows if f">{self.namespace}:{ACCOUNT}</span>" in each]
        return [self.site.cloud.url + re.findall(r'href="(/exchanges/[^"]+)"', each)[0] for each in own]

    def exchange(self, page: str) -> str:
        """Return one of them, as text: HTML."""
        with urllib3.PoolManager(ca_certs=self.site.cloud.ca_file) as pool:
            return pool.request("GET", page).data.decode()


def curl(url: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that asks `url`, of which `heard` makes sense."""
    return ("curl", "-sS", "--noproxy", "*", "--max-time", "120", "-w", _STATUS, *arguments, url)


def heard(output: str) -> Heard:
    """Read what `curl` printed."""
    text, _, status = output.rpartition("\n")
    return Heard(int(status), text)


def payload(token: str) -> dict[str, Any]:
    """Return the claims of a JWT (RFC 7519)."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def settle(site: Site, name: str, *manifests: Manifest, labels: dict[str, str] | None = None) -> Team:
    """Make a team whose namespace, and identity, is called `name`, and whatever it has from the beginning."""
    team = Team(site, name, site.identity(name, (name, ACCOUNT)))
    site.apply(namespace(name, labels or {}))
    team.make(account(team.identity.client_id), *manifests)
    return team


def together(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return what the function makes of each, all at once."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, items))
