"""A sidecar that cannot start: the pod's status has the reason."""

import pytest

from tests.cluster.cluster import Cluster, eventually
from tests.cluster.manifests import account, pod
from tests.cluster.team import Team, make_team

pytestmark = pytest.mark.cluster
REASON = (
    "error: AZURE_CLIENT_ID is not a GUID: 'wi-demo-identity'\n"
    "hint: give the managed identity's client id (az identity show --query clientId), not its name"
)


def _message(team: Team) -> str:
    """Return the termination message of the sidecar in the pod's status."""
    path = "{.status.initContainerStatuses[?(@.name=='azwi-proxy')]..terminated.message}"
    return team.kubectl("get", "pod", "app", "-o", f"jsonpath={path}")


def test_pod_status_has_the_reason_and_the_hint(cluster: Cluster) -> None:
    """Admission has warned, and the pod's own container does not start without its identity."""
    team = make_team(cluster, "failure")
    team.make(account("wi-demo-identity"))
    assert "Warning: client-id" in team.make(pod("app"))
    eventually(lambda: _message(team).strip() == REASON, "the sidecar's termination message")
    described = team.kubectl("describe", "pod", "app")
    assert all(line in described for line in REASON.splitlines())
    (own,) = team.get("pod", "app")["status"]["containerStatuses"]
    assert own["state"]["waiting"]["reason"] == "PodInitializing"
