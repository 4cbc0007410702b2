"""A namespace whose LimitRange bounds what every container asks for and may use."""

import pytest

from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, container, pod
from tests.cluster.site import Site
from tests.cluster.team import Team, settle

pytestmark = pytest.mark.cluster
MEASURED = {each: {"cpu": "100m", "memory": "64Mi"} for each in ("requests", "limits")}
BOUNDS: Manifest = {
    "type": "Container",
    "min": {"cpu": "50m", "memory": "48Mi"},
    "max": {"cpu": "200m", "memory": "96Mi"},
}


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site) -> Team:
    bounds: Manifest = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"}}
    return settle(cluster, "limits", {**bounds, "spec": {"limits": [BOUNDS]}})


def test_the_charts_resources_are_refused_there(team: Team) -> None:
    """The message says which bound is passed, so that one knows what to annotate."""
    said = team.refused(pod("usual", container("app", resources=MEASURED)))
    assert "maximum cpu usage per Container is 200m, but limit is 500m" in said
    assert "maximum memory usage per Container is 96Mi, but limit is 128Mi" in said


def test_annotations_fit_both_containers_into_it(team: Team) -> None:
    """What is said of the sidecar holds for the redirect, too: else nothing could be said of that."""
    fitting = {"cpu-request": "50m", "cpu-limit": "100m", "memory-request": "48Mi", "memory-limit": "64Mi"}
    annotations = {**SIDECAR, **{f"{PREFIX}proxy-{name}": value for name, value in fitting.items()}}
    team.make(pod("fitting", container("app", resources=MEASURED), annotations=annotations))
    team.ready("fitting")
    team.claims(team.ask("fitting"))
    assert team.get("pod", "fitting")["status"]["qosClass"] == "Guaranteed"  # as the pod's own container makes it
