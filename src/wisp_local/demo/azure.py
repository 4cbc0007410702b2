"""The demo's Azure: a local cloud, the resources of the walk-through in it, and the verification of its tokens."""

import contextlib
import json
import shutil
import time
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import urllib3
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import FederatedCredential, ManagedIdentity
from wisp_local.cloud.issuer import Issuer, Projection, service_account_token
from wisp_local.cloud.state.store import Store
from wisp_local.demo import steps
from wisp_local.demo.stage import Stage
from wisp_local.sandbox.processes import Component, running_component

PROJECTION = Projection(steps.NAMESPACE, steps.SERVICE_ACCOUNT, steps.POD)
REPORT_BUG = "report it: this is a bug in wisp"
_START = 20  # seconds for the cloud to listen
_TIMEOUT = 10  # seconds for a request


@contextlib.contextmanager
def start_cloud(stage: Stage) -> Iterator[Component]:
    """Start the cloud without waiting until it listens."""
    host, port = stage.cloud
    listen = ("--state", str(_state(stage)), "--host", host, "--port", str(port))
    command = (stage.python, "-m", "wisp", "cloud", "serve", *listen)
    with running_component("the local cloud", stage.node, stage.folder / "cloud.log", *command) as cloud:
        yield cloud


@dataclass(frozen=True)
class Azure:
    """A cloud that listens at `url`, and the issuer of its one cluster. Clients trust `ca_file`."""

    store: Store
    url: str
    ca_file: Path
    issuer: Issuer

    @property
    def issuer_url(self) -> str:
        """The issuer URL that `az aks show` prints."""
        return self.url + self.issuer.path

    def make_identity(self) -> ManagedIdentity:
        """Do what `az identity create` does."""
        return self.store.put_identity(steps.GROUP, steps.IDENTITY, steps.LOCATION)

    def federate(self, identity: ManagedIdentity) -> FederatedCredential:
        """Do what `az identity federated-credential create` does."""
        return self.store.put_federated_credential(
            identity, steps.CREDENTIAL, issuer=self.issuer_url, subject=PROJECTION.subject
        )

    def project_token(self) -> Secret:
        """Return a service account token, as kubelet projects it into the pod."""
        return service_account_token(self.issuer, self.issuer_url, PROJECTION, now=time.time())

    def injected(self, identity: ManagedIdentity, token_file: Path) -> dict[str, str]:
        """Return the environment variables that the webhook adds to containers, in its order."""
        return {
            "AZURE_CLIENT_ID": identity.client_id,
            "AZURE_TENANT_ID": identity.tenant_id,
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "AZURE_AUTHORITY_HOST": f"{self.url}/",
        }


@contextlib.contextmanager
def make_azure(stage: Stage, cloud: Component) -> Iterator[Azure]:
    """Do what `az group create` and `az aks create` do, and wait until the cloud listens.

    Generating keys takes the time here; the cloud does the same meanwhile.
    """
    with Store(_state(stage)) as store:
        store.put_resource_group(steps.GROUP, steps.LOCATION)
        issuer = store.issuers.put(steps.CLUSTER)
        listening = json.loads(cloud.first_line(_START))
        ca_file = stage.shared / "authority.pem"
        shutil.copyfile(listening["ca_file"], ca_file)
        ca_file.chmod(0o644)  # a certificate is public
        yield Azure(store, listening["url"], ca_file, issuer)


def _state(stage: Stage) -> Path:
    return stage.folder / "cloud.db"


@dataclass(frozen=True)
class VerifiedToken:
    """The header and the claims of a token whose signature and lifetime are valid."""

    header: dict[str, object]
    claims: dict[str, object]


class Verifier:
    """Verifies access tokens as a resource server does, with `keys` that are published at `keys_url`."""

    def __init__(self, keys_url: str, keys: KeySet) -> None:
        self.keys_url = keys_url
        self._keys = keys

    @classmethod
    def published(cls, authority: str, ca_file: Path) -> typing.Self:
        """Fetch the keys of the tenant at `authority` (https, ends in a slash), trusting `ca_file` only.

        Raise WispError.
        """
        with urllib3.PoolManager(ca_certs=str(ca_file), timeout=_TIMEOUT, retries=False) as pool:
            keys_url = str(_fetch(pool, f"{authority}.well-known/openid-configuration").get("jwks_uri"))
            document = _fetch(pool, keys_url)
        try:
            return cls(keys_url, KeySet.import_key_set(typing.cast("KeySetSerialization", document)))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise WispError(f"{keys_url} publishes no valid keys ({error})", hint=REPORT_BUG) from error

    def verify(self, token: Secret, now: float) -> VerifiedToken:
        """Return the content of `token`. Raise WispError if it is not valid at `now` (Unix seconds)."""
        try:
            decoded = jwt.decode(token.reveal(), self._keys, algorithms=["RS256"])
            rules = jwt.JWTClaimsRegistry(now=lambda: int(now), exp={"essential": True}, nbf={"essential": True})
            rules.validate(decoded.claims)
        except (JoseError, ValueError) as error:
            raise WispError(f"the token is not valid ({error})", hint=REPORT_BUG) from error
        return VerifiedToken(dict(decoded.header), dict(decoded.claims))


def _fetch(pool: urllib3.PoolManager, url: str) -> dict[str, object]:
    try:
        answer = pool.request("GET", url)
        document = json.loads(answer.data)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise WispError(f"{url} cannot be fetched ({error})", hint=REPORT_BUG) from error
    if answer.status != 200 or not isinstance(document, dict):
        raise WispError(f"{url} answered {answer.status}", hint=REPORT_BUG)
    return document
