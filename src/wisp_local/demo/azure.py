"""The lab's Azure: a local cloud that runs beside the story, and what the walk-through makes in it."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import FederatedCredential, ManagedIdentity
from wisp_local.cloud.issuer import Issuer, Projection, service_account_token
from wisp_local.cloud.state.store import Store
from wisp_local.demo import story
from wisp_local.demo.scene import Scene
from wisp_local.sandbox.processes import Component, beside

_START = 20  # seconds to come up
PROJECTION = Projection(story.NAMESPACE, story.SERVICE_ACCOUNT, story.POD)


@contextlib.contextmanager
def start_cloud(scene: Scene) -> Iterator[Component]:
    """Start the cloud, and do not wait for it."""
    host, port = scene.cloud
    listen = ("--state", str(_state(scene)), "--host", host, "--port", str(port))
    command = (scene.python, "-m", "wisp", "cloud", "serve", *listen)
    with beside("the local cloud", scene.node, scene.folder / "cloud.log", *command) as serving:
        yield serving


@dataclass(frozen=True)
class Azure:
    """A cloud that listens at `url`, and the issuer of its one cluster; clients trust `ca_file`."""

    store: Store
    url: str
    ca_file: Path
    issuer: Issuer

    @property
    def issuer_url(self) -> str:
        """What az aks show says."""
        return self.url + self.issuer.path

    def make_identity(self) -> ManagedIdentity:
        """Do az identity create."""
        return self.store.put_identity(story.GROUP, story.IDENTITY, story.LOCATION)

    def federate(self, identity: ManagedIdentity) -> FederatedCredential:
        """Do az identity federated-credential create."""
        return self.store.put_federated_credential(
            identity, story.CREDENTIAL, issuer=self.issuer_url, subject=PROJECTION.subject
        )

    def project_token(self) -> Secret:
        """Do what kubelet does for the pod."""
        return service_account_token(self.issuer, self.issuer_url, PROJECTION, now=time.time())

    def injected(self, identity: ManagedIdentity, token_file: Path) -> dict[str, str]:
        """Return the variables that the webhook puts into containers, in its order."""
        return {
            "AZURE_CLIENT_ID": identity.client_id,
            "AZURE_TENANT_ID": identity.tenant_id,
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "AZURE_AUTHORITY_HOST": f"{self.url}/",
        }


@contextlib.contextmanager
def make_azure(scene: Scene, serving: Component) -> Iterator[Azure]:
    """Do az group create and az aks create: what takes time here is generating keys, which the cloud does meanwhile."""
    with Store(_state(scene)) as store:
        store.put_resource_group(story.GROUP, story.LOCATION)
        issuer = store.issuers.put(story.CLUSTER)
        said = json.loads(serving.first_line(_START))
        ca_file = scene.shared / "authority.pem"
        shutil.copyfile(said["ca_file"], ca_file)
        ca_file.chmod(0o644)  # a certificate is public
        yield Azure(store, said["url"], ca_file, issuer)


def _state(scene: Scene) -> Path:
    return scene.folder / "cloud.db"
