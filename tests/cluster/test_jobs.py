"""Pods of Jobs, which have to end."""

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import container, template
from tests.cluster.team import TOKEN, curl, make_team, parse_response

pytestmark = pytest.mark.cluster


def test_job_with_the_sidecar_completes(cluster: Cluster) -> None:
    """Its only container gets a token and ends. The sidecar ends after it."""
    team = make_team(cluster, "jobs")
    asks = container("app", *curl(TOKEN, "-H", "Metadata:true"), securityContext={"capabilities": {"drop": ["ALL"]}})
    job = template(asks, restartPolicy="Never")
    output = team.make(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "report"},
            "spec": {"template": job, "backoffLimit": 0},
        }
    )
    assert [line for line in output.splitlines() if line.startswith("Warning: ")] == []
    team.kubectl("wait", "--for=condition=Complete", "job/report", "--timeout=300s")
    team.claims(parse_response(team.kubectl("logs", "job/report")))
    (made,) = team.get("pods", "-l", "job-name=report")["items"]
    states = {
        container["name"]: container["state"]["terminated"]["exitCode"]
        for container in made["status"]["initContainerStatuses"]
    }
    assert states == {"azwi-proxy-init": 0, "azwi-proxy": 0}
