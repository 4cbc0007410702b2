"""Migration from azure-workload-identity and back: its pods, its manifests, and both webhooks in one cluster.

The image of its proxy is ours, which has a program `/proxy`; the image of its redirect is made for the test.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import IMAGE, NAMESPACE, Cluster
from tests.cluster.identity import MOUNT, SIDECAR, VARIABLES, faults
from tests.cluster.reference import PROXY_IMAGE, REDIRECT_RECIPE, Reference, webhook
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.demo.azure import Verifier
from wisp_local.lab.node.images import debian_image
from wisp_local.lab.node.node import ARCHITECTURE
from wisp_local.sandbox.folders import cache_folder

pytestmark = pytest.mark.cluster
METADATA = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource="
PLACE = "migration"
BEFORE, AFTER = "azure-wi-webhook-mutating-webhook-configuration", "zz-azure-wi-webhook"
"""Names of its configuration: webhooks are called in the order of their names, and ours is called wisp."""


@dataclass(frozen=True)
class Migration:
    """A cluster with azure-workload-identity's webhook, before or after, and the identity of the pods."""

    cluster: Cluster
    identity: ManagedIdentity
    reference: Reference
    folder: Path

    @contextlib.contextmanager
    def with_reference(self, name: str) -> Iterator[None]:
        """Run the reference's webhook until the block ends, with a configuration of that name."""
        with webhook(self.reference, self.cluster.node.network.host, self.folder, name) as configuration:
            self.cluster.apply(configuration)
            try:
                yield
            finally:
                self.cluster.kubectl("delete", "mutatingwebhookconfiguration", name)

    def pod(self, name: str) -> dict[str, Any]:
        """Return a pod from the API server."""
        return dict(self.cluster.get("pod", name, "-n", PLACE))

    def verify_token(self, name: str, resource: str = "https://management.azure.com") -> None:
        """Let the application in a pod ask for a token, and verify that it is the identity's."""
        self.cluster.wait_until_ready(name, PLACE)
        command = ("curl", "-sS", "-H", "Metadata:true", "--noproxy", "*", METADATA + resource)
        answer = json.loads(self.cluster.kubectl("exec", name, "-n", PLACE, "-c", "main", "--", *command))
        verifier = Verifier.published(
            f"{self.cluster.cloud.url}/{self.cluster.tenant_id}/", Path(self.cluster.cloud.ca_file)
        )
        claims = verifier.verify(Secret(answer["access_token"]), float(answer["not_before"]) + 1).claims
        assert (claims["appid"], claims["aud"]) == (self.identity.client_id, resource)

    def delete(self, *names: str) -> None:
        """Delete pods."""
        self.cluster.kubectl("delete", "pod", *names, "-n", PLACE, "--now")


@pytest.fixture(name="migration")
def _migration(installed: Cluster, tmp_path: Path) -> Migration:
    installed.node.load(debian_image(cache_folder(), ARCHITECTURE, REDIRECT_RECIPE))
    ours = f"docker.io/library/{IMAGE}"
    tagged = installed.node.ctr("-n", "k8s.io", "images", "tag", "--force", ours, PROXY_IMAGE)
    assert tagged.status == 0, tagged.errors
    identity = installed.identity(PLACE, (PLACE, "app"))
    annotations = {"azure.workload.identity/client-id": identity.client_id}
    installed.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLACE}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "app", "namespace": PLACE, "annotations": annotations},
        },
    )
    reference = Reference(installed.tenant_id, identity.client_id, f"{installed.cloud.url}/")
    return Migration(installed, identity, reference, tmp_path)


def _plain(name: str) -> dict[str, Any]:
    """Return a pod that no webhook has changed, with an init container."""
    own = {"image": "ubuntu:20.04", "command": ["sleep", "infinity"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": PLACE,
            "labels": {"azure.workload.identity/use": "true"},
            "annotations": {"azure.workload.identity/inject-proxy-sidecar": "true"},
        },
        "spec": {
            "serviceAccountName": "app",
            "terminationGracePeriodSeconds": 1,
            "initContainers": [{**own, "name": "first", "command": ["true"]}],
            "containers": [{**own, "name": "main"}],
        },
    }


def test_pod_mutated_by_the_reference_works(migration: Migration) -> None:
    """Exported and applied again, as GitOps does: nothing is repeated, and the pod keeps its images."""
    mutated = migration.reference.mutated(_plain("exported"))
    migration.cluster.apply(mutated)
    pod = migration.pod("exported")
    assert faults(pod, migration.identity.client_id, ours=False) == []
    volumes = [{volume["name"] for volume in one["spec"]["volumes"]} for one in (mutated, pod)]
    assert volumes[0] == {volume for volume in volumes[1] if not volume.startswith("kube-api-access-")}
    assert PROXY_IMAGE in {container["image"] for container in pod["spec"]["initContainers"]}
    migration.verify_token("exported")
    migration.delete("exported")


def test_template_mutated_by_the_reference_works(migration: Migration) -> None:
    """A Deployment whose template is one of its pods: the volume keeps its name."""
    mutated = migration.reference.mutated(_plain("another"))
    labels = {**mutated["metadata"]["labels"], "app": "exported"}
    template = {"metadata": {**mutated["metadata"], "labels": labels}, "spec": mutated["spec"]}
    del template["metadata"]["name"], template["metadata"]["namespace"]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "exported", "namespace": PLACE},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "exported"}}, "template": template},
    }
    migration.cluster.apply(deployment)
    migration.cluster.kubectl("rollout", "status", "deployment/exported", "-n", PLACE, "--timeout=300s")
    (pod,) = migration.cluster.get("pods", "-n", PLACE, "-l", "app=exported")["items"]
    assert faults(pod, migration.identity.client_id, ours=False) == []
    migration.verify_token(pod["metadata"]["name"])
    migration.cluster.kubectl("delete", "deployment", "exported", "-n", PLACE)


@pytest.mark.parametrize("name", [BEFORE, AFTER], ids=["its before ours", "ours before its"])
def test_both_webhooks_together_inject_everything_once(migration: Migration, name: str) -> None:
    """In either order."""
    with migration.with_reference(name):
        migration.cluster.apply(_plain("both"))
    pod = migration.pod("both")
    assert faults(pod, migration.identity.client_id, ours=False) == []
    migration.verify_token("both")
    migration.delete("both")


def test_proxy_only_pod_has_the_identity_only_in_the_sidecar(migration: Migration) -> None:
    """The reference, called before and again after ours, gives it to the application. Ours removes it."""
    pod = _plain("alone")
    pod["metadata"]["annotations"] = {"azure.workload.identity/inject-proxy-only": "true"}
    with migration.with_reference(BEFORE):
        migration.cluster.apply(pod)
    spec = migration.pod("alone")["spec"]
    for container in [*spec["initContainers"], *spec["containers"]]:
        expected = set(VARIABLES) | {MOUNT} if container["name"] == SIDECAR else set()
        variables = {one["name"] for one in container.get("env", [])}
        mounts = {one["mountPath"] for one in container["volumeMounts"]}
        assert (variables | mounts) & {*VARIABLES, MOUNT} == expected, container["name"]
    migration.verify_token("alone")
    migration.delete("alone")


def test_rollback_to_the_reference_works(migration: Migration) -> None:
    """After the removal of wisp its pods still get tokens, and the reference accepts their exported manifests."""
    migration.cluster.apply(_plain("ours"))
    migration.verify_token("ours")
    exported = migration.pod("ours")
    migration.cluster.helm("uninstall", "wisp", "--namespace", NAMESPACE, "--wait")
    migration.verify_token("ours", "https://vault.azure.net")
    migration.delete("ours")
    with migration.with_reference(BEFORE):
        migration.cluster.apply(_exported(exported))
    assert faults(migration.pod("ours"), migration.identity.client_id, ours=False) == []
    migration.verify_token("ours")
    migration.delete("ours")


def _exported(pod: dict[str, Any]) -> dict[str, Any]:
    fields = ("name", "namespace", "labels", "annotations")
    metadata = {key: value for key, value in pod["metadata"].items() if key in fields}
    metadata["annotations"].pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
