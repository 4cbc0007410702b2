"""From azure-workload-identity and back: its pods, its manifests, and its webhook beside ours.

Its images are ours under its proxy's name, which `/proxy` makes possible, and one that stands for its redirect's.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.identity import MOUNT, SIDECAR, VARIABLES, faults
from tests.cluster.reference import PROXY_IMAGE, REDIRECT_RECIPE, Reference, webhook
from tests.cluster.site import IMAGE, NAMESPACE, Site
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
"""Names of its configuration: webhooks are asked in the order of these, and ours is called wisp."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that `reference` serves, or did, with the identity that pods of its namespace have."""

    site: Site
    identity: ManagedIdentity
    reference: Reference
    folder: Path

    @contextlib.contextmanager
    def with_reference(self, name: str) -> Iterator[None]:
        """Have the reference's webhook serve, by a configuration of that name."""
        with webhook(self.reference, self.site.node.network.host, self.folder, name) as configuration:
            self.site.apply(configuration)
            try:
                yield
            finally:
                self.site.kubectl("delete", "mutatingwebhookconfiguration", name)

    def pod(self, name: str) -> dict[str, Any]:
        """Return a pod as the API server has it."""
        return dict(self.site.get("pod", name, "-n", PLACE))

    def has_token(self, name: str, resource: str = "https://management.azure.com") -> None:
        """Have the application in a pod ask, and verify what it gets: the identity's token."""
        self.site.ready(name, PLACE)
        asked = ("curl", "-sS", "-H", "Metadata:true", "--noproxy", "*", METADATA + resource)
        answer = json.loads(self.site.kubectl("exec", name, "-n", PLACE, "-c", "main", "--", *asked))
        verifier = Verifier.published(f"{self.site.cloud.url}/{self.site.tenant_id}/", Path(self.site.cloud.ca_file))
        claims = verifier.verify(Secret(answer["access_token"]), float(answer["not_before"]) + 1).claims
        assert (claims["appid"], claims["aud"]) == (self.identity.client_id, resource)

    def end(self, *names: str) -> None:
        """Delete pods."""
        self.site.kubectl("delete", "pod", *names, "-n", PLACE, "--now")


@pytest.fixture(name="migrating")
def _migrating(served: Site, tmp_path: Path) -> Cluster:
    served.node.load(debian_image(cache_folder(), ARCHITECTURE, REDIRECT_RECIPE))
    ours = f"docker.io/library/{IMAGE}"
    tagged = served.node.ctr("-n", "k8s.io", "images", "tag", "--force", ours, PROXY_IMAGE)
    assert tagged.status == 0, tagged.errors
    identity = served.identity(PLACE, (PLACE, "app"))
    annotations = {"azure.workload.identity/client-id": identity.client_id}
    served.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLACE}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "app", "namespace": PLACE, "annotations": annotations},
        },
    )
    reference = Reference(served.tenant_id, identity.client_id, f"{served.cloud.url}/")
    return Cluster(served, identity, reference, tmp_path)


def _plain(name: str) -> dict[str, Any]:
    """Write a pod that nobody has mutated, with an init container of its own."""
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


def test_a_pod_that_it_has_mutated(migrating: Cluster) -> None:
    """Applied again, as GitOps does with what it has exported: nothing is doubled, and it works with its own images."""
    mutated = migrating.reference.mutated(_plain("exported"))
    migrating.site.apply(mutated)
    pod = migrating.pod("exported")
    assert faults(pod, migrating.identity.client_id, ours=False) == []
    volumes = [{each["name"] for each in one["spec"]["volumes"]} for one in (mutated, pod)]
    assert volumes[0] == {each for each in volumes[1] if not each.startswith("kube-api-access-")}
    assert PROXY_IMAGE in {each["image"] for each in pod["spec"]["initContainers"]}
    migrating.has_token("exported")
    migrating.end("exported")


def test_a_template_that_it_has_mutated(migrating: Cluster) -> None:
    """A Deployment whose template was taken from a pod of its: the volume keeps the name that it has from there."""
    mutated = migrating.reference.mutated(_plain("another"))
    labels = {**mutated["metadata"]["labels"], "app": "exported"}
    template = {"metadata": {**mutated["metadata"], "labels": labels}, "spec": mutated["spec"]}
    del template["metadata"]["name"], template["metadata"]["namespace"]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "exported", "namespace": PLACE},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "exported"}}, "template": template},
    }
    migrating.site.apply(deployment)
    migrating.site.kubectl("rollout", "status", "deployment/exported", "-n", PLACE, "--timeout=300s")
    (pod,) = migrating.site.get("pods", "-n", PLACE, "-l", "app=exported")["items"]
    assert faults(pod, migrating.identity.client_id, ours=False) == []
    migrating.has_token(pod["metadata"]["name"])
    migrating.site.kubectl("delete", "deployment", "exported", "-n", PLACE)


@pytest.mark.parametrize("name", [BEFORE, AFTER], ids=["its before ours", "ours before its"])
def test_side_by_side(migrating: Cluster, name: str) -> None:
    """While both serve, a pod has everything once and works, whoever is asked first."""
    with migrating.with_reference(name):
        migrating.site.apply(_plain("both"))
    pod = migrating.pod("both")
    assert faults(pod, migrating.identity.client_id, ours=False) == []
    migrating.has_token("both")
    migrating.end("both")


def test_the_identity_in_the_sidecar_only(migrating: Cluster) -> None:
    """The reference, asked first and again after ours, gives the application the identity: ours takes it back."""
    pod = _plain("alone")
    pod["metadata"]["annotations"] = {"azure.workload.identity/inject-proxy-only": "true"}
    with migrating.with_reference(BEFORE):
        migrating.site.apply(pod)
    spec = migrating.pod("alone")["spec"]
    for each in [*spec["initContainers"], *spec["containers"]]:
        expected = set(VARIABLES) | {MOUNT} if each["name"] == SIDECAR else set()
        variables = {one["name"] for one in each.get("env", [])}
        mounts = {one["mountPath"] for one in each["volumeMounts"]}
        assert (variables | mounts) & {*VARIABLES, MOUNT} == expected, each["name"]
    migrating.has_token("alone")
    migrating.end("alone")


def test_rolled_back(migrating: Cluster) -> None:
    """Ours is uninstalled: its pods go on to get tokens, and what was exported of them suits the reference."""
    migrating.site.apply(_plain("ours"))
    migrating.has_token("ours")
    exported = migrating.pod("ours")
    migrating.site.helm("uninstall", "wisp", "--namespace", NAMESPACE, "--wait")
    migrating.has_token("ours", "https://vault.azure.net")
    migrating.end("ours")
    with migrating.with_reference(BEFORE):
        migrating.site.apply(_exported(exported))
    assert faults(migrating.pod("ours"), migrating.identity.client_id, ours=False) == []
    migrating.has_token("ours")
    migrating.end("ours")


def _exported(pod: dict[str, Any]) -> dict[str, Any]:
    kept = ("name", "namespace", "labels", "annotations")
    metadata = {key: value for key, value in pod["metadata"].items() if key in kept}
    metadata["annotations"].pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
