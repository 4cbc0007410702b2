"""The limit of containers in a pod, in a real cluster."""

from typing import Any

import pytest

from tests.cluster.api import api
from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.cluster
PODS = "/api/v1/namespaces/default/pods?dryRun=All"


def _pod(containers: int, init_containers: int = 0) -> dict[str, Any]:
    """Return a labelled pod with that many containers."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "many", "labels": {"azure.workload.identity/use": "true"}},
        "spec": {
            "initContainers": [
                {"name": f"i{number}", "image": "wisp.test/pause:1"} for number in range(init_containers)
            ],
            "containers": [{"name": f"c{number}", "image": "wisp.test/pause:1"} for number in range(containers)],
        },
    }


@pytest.mark.parametrize("init_containers", [0, 400])
def test_pod_with_1000_containers_is_admitted(cluster: Cluster, init_containers: int) -> None:
    """All containers get the variables and the token."""
    with api(cluster) as server:
        made = server.ask("POST", PODS, _pod(1000 - init_containers, init_containers))
    assert made.status == 201, made.message
    spec = made.document["spec"]
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    assert len(containers) == 1000
    for container in containers:
        assert "AZURE_TENANT_ID" in {variable["name"] for variable in container["env"]}
        assert "/var/run/secrets/azure/wi" in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("init_containers", [0, 400])
def test_pod_with_1001_containers_is_rejected_with_a_sentence(cluster: Cluster, init_containers: int) -> None:
    """The user who creates the pod gets the number and the limit."""
    with api(cluster) as server:
        refused = server.ask("POST", PODS, _pod(1001 - init_containers, init_containers))
    assert refused.status == 400, refused.message
    assert 'admission webhook "mutation.wisp.azure.workload.identity" denied the request: ' in refused.message
    assert "1,001 containers" in refused.message
    assert "1,000" in refused.message
