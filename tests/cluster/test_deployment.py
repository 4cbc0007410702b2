"""A Deployment of fifty pods, each with a sidecar of its own."""

import sys
import time

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import LABELLED, container, template
from tests.cluster.team import in_parallel, make_team

pytestmark = pytest.mark.cluster
REPLICAS = 50


def test_fifty_pods_get_their_own_tokens(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """All become ready. Entra gets one request for each pod that asks for a token, and no other."""
    team = make_team(cluster, "crowd")
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
    assert sum(status["restartCount"] for pod in pods for status in pod["status"]["initContainerStatuses"]) == 0
    asking = [pod["metadata"]["name"] for pod in pods[:: REPLICAS // 6]]
    for response in in_parallel(team.ask, [name for name in asking for _ in range(2)]):
        team.claims(response)
    assert len(team.exchanges()) == len(asking)
    team.kubectl("delete", "deployment", "crowd", "--wait=false")
    exchanged = f"{len(asking)} exchanges for {2 * len(asking)} requests"
    with capsys.disabled():
        sys.stdout.write(f"\n{REPLICAS} pods with sidecars: ready in {took:.1f} s; {exchanged}\n")
