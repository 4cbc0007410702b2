"""A Deployment of fifty pods, each with a sidecar of its own."""

import sys
import time

import pytest

from tests.cluster.manifests import LABELLED, container, template
from tests.cluster.site import Site
from tests.cluster.team import settle, together

pytestmark = pytest.mark.cluster
REPLICAS = 50


def test_fifty_pods(cluster: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """All become ready; those that ask get tokens, and Entra is asked once for each of them, by no other."""
    team = settle(cluster, "crowd")
    begun = time.monotonic()
    team.make(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "crowd"},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": LABELLED}, "template": template(container())},
        }
    )
    team.kubectl("rollout", "status", "deployment/crowd", "--timeout=300s")
    took = time.monotonic() - begun
    pods = team.get("pods")["items"]
    assert len(pods) == REPLICAS
    assert sum(each["restartCount"] for pod in pods for each in pod["status"]["initContainerStatuses"]) == 0
    asking = [each["metadata"]["name"] for each in pods[:: REPLICAS // 6]]
    for heard in together(team.ask, [name for name in asking for _ in range(2)]):
        team.claims(heard)
    assert len(team.exchanges()) == len(asking)
    team.kubectl("delete", "deployment", "crowd", "--wait=false")
    exchanged = f"{len(asking)} exchanges for {2 * len(asking)} requests"
    with capsys.disabled():
        sys.stdout.write(f"\n{REPLICAS} pods with sidecars: ready in {took:.1f} s; {exchanged}\n")
