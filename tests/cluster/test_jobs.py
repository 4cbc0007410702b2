"""Pods that are to end: a Job's, and one without native sidecars."""

import pytest

from tests.cluster.manifests import container, template
from tests.cluster.site import Site
from tests.cluster.team import TOKEN, curl, heard, settle

pytestmark = pytest.mark.cluster


def test_a_job_with_the_sidecar_completes(cluster: Site) -> None:
    """Its only container gets a token at once and ends; the sidecar ends with it, and the Job is complete."""
    team = settle(cluster, "jobs")
    asks = container("app", *curl(TOKEN, "-H", "Metadata:true"), securityContext={"capabilities": {"drop": ["ALL"]}})
    job = template(asks, restartPolicy="Never")
    said = team.make(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "report"},
            "spec": {"template": job, "backoffLimit": 0},
        }
    )
    assert [line for line in said.splitlines() if line.startswith("Warning: ")] == []
    team.kubectl("wait", "--for=condition=Complete", "job/report", "--timeout=300s")
    team.claims(heard(team.kubectl("logs", "job/report")))
    (made,) = team.get("pods", "-l", "job-name=report")["items"]
    states = {each["name"]: each["state"]["terminated"]["exitCode"] for each in made["status"]["initContainerStatuses"]}
    assert states == {"azwi-proxy-init": 0, "azwi-proxy": 0}
