"""A namespace with a ResourceQuota, which requires resources of every container."""

import pytest

from tests.cluster.cluster import Cluster, eventually
from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, container, pod
from tests.cluster.team import Team, make_team

pytestmark = pytest.mark.cluster
MEASURED = {
    "requests": {"cpu": "10m", "memory": "16Mi"},
    "limits": {"cpu": "1", "memory": "64Mi"},
}
HARD = {"requests.cpu": "1", "requests.memory": "256Mi", "limits.cpu": "4", "limits.memory": "512Mi", "pods": "4"}


def _quota(hard: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": hard}}


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster) -> Team:
    team = make_team(cluster, "quota", _quota(HARD))
    eventually(lambda: "used" in team.get("resourcequota", "all").get("status", {}), "the quota's first count")
    return team


def test_sidecar_has_the_resources_that_a_quota_requires(team: Team) -> None:
    """By default. The quota counts the sidecar in addition to the pod's own containers."""
    team.make(pod("app", container("app", resources=MEASURED)))
    team.wait_until_ready("app")
    team.claims(team.ask("app"))
    counted = {"limits.cpu": "1500m", "limits.memory": "192Mi", "requests.cpu": "20m", "requests.memory": "48Mi"}
    eventually(lambda: team.get("resourcequota", "all")["status"]["used"] == {**counted, "pods": "1"}, "the count")


def test_annotated_resources_of_the_sidecar_count(team: Team) -> None:
    """They replace the chart's. A pod that exceeds the quota is rejected."""
    resources = {f"{PREFIX}proxy-{name}": value for name, value in (("cpu-request", "50m"), ("memory-limit", "400Mi"))}
    measured = container("app", resources=MEASURED)
    output = team.rejection(pod("large", measured, annotations={**SIDECAR, **resources}))
    assert "exceeded quota: all, requested: limits.memory=464Mi" in output
    team.make(pod("small", measured, annotations={**SIDECAR, **resources, f"{PREFIX}proxy-memory-limit": "48Mi"}))
    team.wait_until_ready("small")
    sidecar = team.get("pod", "small")["spec"]["initContainers"][1]
    assert sidecar["resources"] == {
        "requests": {"cpu": "50m", "memory": "32Mi"},
        "limits": {"cpu": "500m", "memory": "48Mi"},
    }


def test_sidecar_of_a_pod_with_pod_level_resources_requests_nothing(team: Team) -> None:
    """The pod's own containers already request all of it. The quota counts the pod's resources."""
    before = _counted(team)
    whole = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}
    asks = container("app", resources={"requests": whole["requests"]})
    team.make(pod("whole", asks, resources=whole))
    team.wait_until_ready("whole")
    team.claims(team.ask("whole"))
    made = team.get("pod", "whole")["spec"]
    assert [container["resources"] for container in made["initContainers"]] == [{}, {}]
    assert _counted(team) - before == 32


def _counted(team: Team) -> int:
    """Return the MiB that pods request, as the quota counts them."""
    counted: str = team.get("resourcequota", "all")["status"]["used"]["requests.memory"]
    return int(counted.removesuffix("Mi"))
