"""A namespace whose ResourceQuota wants every container to say what it asks for and may use."""

import pytest

from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, container, pod
from tests.cluster.site import Site, eventually
from tests.cluster.team import Team, settle

pytestmark = pytest.mark.cluster
MEASURED = {
    "requests": {"cpu": "10m", "memory": "16Mi"},
    "limits": {"cpu": "1", "memory": "64Mi"},
}
HARD = {"requests.cpu": "1", "requests.memory": "256Mi", "limits.cpu": "4", "limits.memory": "512Mi", "pods": "4"}


def _quota(hard: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": hard}}


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site) -> Team:
    team = settle(cluster, "quota", _quota(HARD))
    eventually(lambda: "used" in team.get("resourcequota", "all").get("status", {}), "the quota's first count")
    return team


def test_a_pod_with_the_sidecar_fits_a_quota(team: Team) -> None:
    """What the chart says of the two containers is enough; the quota counts the sidecar beside the pod's own."""
    team.make(pod("app", container("app", resources=MEASURED)))
    team.ready("app")
    team.claims(team.ask("app"))
    counted = {"limits.cpu": "1500m", "limits.memory": "192Mi", "requests.cpu": "20m", "requests.memory": "48Mi"}
    eventually(lambda: team.get("resourcequota", "all")["status"]["used"] == {**counted, "pods": "1"}, "the count")


def test_what_the_pod_says_of_the_sidecar_counts(team: Team) -> None:
    """Annotations take the place of the chart's; one that is over what is left is refused by the quota, by name."""
    asked = {f"{PREFIX}proxy-{each}": value for each, value in (("cpu-request", "50m"), ("memory-limit", "400Mi"))}
    measured = container("app", resources=MEASURED)
    said = team.refused(pod("large", measured, annotations={**SIDECAR, **asked}))
    assert "exceeded quota: all, requested: limits.memory=464Mi" in said
    team.make(pod("small", measured, annotations={**SIDECAR, **asked, f"{PREFIX}proxy-memory-limit": "48Mi"}))
    team.ready("small")
    sidecar = team.get("pod", "small")["spec"]["initContainers"][1]
    assert sidecar["resources"] == {
        "requests": {"cpu": "50m", "memory": "32Mi"},
        "limits": {"cpu": "500m", "memory": "48Mi"},
    }


def test_a_pod_that_is_measured_as_a_whole(team: Team) -> None:
    """Its containers already ask for all that it has: ours ask for nothing more, and the quota counts the pod's."""
    before = _counted(team)
    whole = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}
    asks = container("app", resources={"requests": whole["requests"]})
    team.make(pod("whole", asks, resources=whole))
    team.ready("whole")
    team.claims(team.ask("whole"))
    made = team.get("pod", "whole")["spec"]
    assert [each["resources"] for each in made["initContainers"]] == [{}, {}]
    assert _counted(team) - before == 32


def _counted(team: Team) -> int:
    """Return the MiB that pods ask for, as the quota has it."""
    counted: str = team.get("resourcequota", "all")["status"]["used"]["requests.memory"]
    return int(counted.removesuffix("Mi"))
