"""A sidecar that cannot start: whoever looks at the pod reads why."""

import pytest

from tests.cluster.manifests import account, pod
from tests.cluster.site import Site, eventually
from tests.cluster.team import Team, settle

pytestmark = pytest.mark.cluster
WHY = (
    "error: AZURE_CLIENT_ID is not a GUID: 'wi-demo-identity'\n"
    "hint: give the managed identity's client id (az identity show --query clientId), not its name"
)


def _message(team: Team) -> str:
    """Return what the pod's status has of the sidecar's end."""
    path = "{.status.initContainerStatuses[?(@.name=='azwi-proxy')]..terminated.message}"
    return team.kubectl("get", "pod", "app", "-o", f"jsonpath={path}")


def test_the_pods_status_says_why(cluster: Site) -> None:
    """Admission has warned; the pod's own container does not start without its identity; its status has the remedy."""
    team = settle(cluster, "failing")
    team.make(account("wi-demo-identity"))
    assert "Warning: client-id" in team.make(pod("app"))
    eventually(lambda: _message(team).strip() == WHY, "the sidecar's last words")
    described = team.kubectl("describe", "pod", "app")
    assert all(line in described for line in WHY.splitlines())
    (own,) = team.get("pod", "app")["status"]["containerStatuses"]
    assert own["state"]["waiting"]["reason"] == "PodInitializing"
