"""A namespace with a LimitRange for the resources of containers."""

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, container, pod
from tests.cluster.team import Team, make_team

pytestmark = pytest.mark.cluster
MEASURED = {kind: {"cpu": "100m", "memory": "64Mi"} for kind in ("requests", "limits")}
BOUNDS: Manifest = {
    "type": "Container",
    "min": {"cpu": "50m", "memory": "48Mi"},
    "max": {"cpu": "200m", "memory": "96Mi"},
}


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster) -> Team:
    bounds: Manifest = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"}}
    return make_team(cluster, "limits", {**bounds, "spec": {"limits": [BOUNDS]}})


def test_default_resources_beyond_the_limit_range_are_rejected(team: Team) -> None:
    """The message names the exceeded limit, and so the annotation to set."""
    output = team.rejection(pod("usual", container("app", resources=MEASURED)))
    assert "maximum cpu usage per Container is 200m, but limit is 500m" in output
    assert "maximum memory usage per Container is 96Mi, but limit is 128Mi" in output


def test_annotations_keep_both_containers_within_the_limit_range(team: Team) -> None:
    """The sidecar's annotations apply to the redirect, too: it has no annotations of its own."""
    fitting = {"cpu-request": "50m", "cpu-limit": "100m", "memory-request": "48Mi", "memory-limit": "64Mi"}
    annotations = {**SIDECAR, **{f"{PREFIX}proxy-{name}": value for name, value in fitting.items()}}
    team.make(pod("fitting", container("app", resources=MEASURED), annotations=annotations))
    team.wait_until_ready("fitting")
    team.claims(team.ask("fitting"))
    assert team.get("pod", "fitting")["status"]["qosClass"] == "Guaranteed"  # as the pod's own container makes it
