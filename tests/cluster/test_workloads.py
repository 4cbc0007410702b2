"""What makes pods: each kind gives its pods the identity, as a pod made by hand has it."""

import pytest

from tests.cluster.manifests import LABELLED, Manifest, container, template
from tests.cluster.site import Site
from tests.cluster.team import TOKEN, Team, curl, heard, settle

pytestmark = pytest.mark.cluster
LASTING = ("ReplicaSet", "StatefulSet", "DaemonSet")
"""Kinds whose pods go on."""


def _lasting(kind: str) -> Manifest:
    labels = {**LABELLED, "kind": kind.lower()}
    spec = {"selector": {"matchLabels": labels}, "template": template(labels=labels)}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": kind.lower()}, "spec": spec}


def _cron_job() -> Manifest:
    asks = template(container("app", *curl(TOKEN, "-H", "Metadata:true")), restartPolicy="OnFailure")
    spec = {"schedule": "0 0 31 2 *", "jobTemplate": {"spec": {"template": asks}}}  # by hand only
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": spec}


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site) -> Team:
    team = settle(cluster, "workloads", *(_lasting(kind) for kind in LASTING), _cron_job())
    team.kubectl("create", "job", "tonight", "--from=cronjob/nightly")
    return team


@pytest.mark.parametrize("kind", LASTING)
def test_its_pods_get_tokens(kind: str, team: Team) -> None:
    """Named or not when they are admitted, they become ready and have the identity."""
    selected = ("-l", f"kind={kind.lower()}")
    team.kubectl("wait", "--for=create", "pod", *selected, "--timeout=300s")
    team.kubectl("wait", "--for=condition=Ready", "pod", *selected, "--timeout=300s")
    (made,) = team.get("pods", *selected)["items"]
    team.claims(team.ask(made["metadata"]["name"]))


def test_a_cron_jobs_job_completes(team: Team) -> None:
    """The sidecar does not keep it from ending."""
    team.kubectl("wait", "--for=condition=Complete", "job/tonight", "--timeout=300s")
    team.claims(heard(team.kubectl("logs", "job/tonight")))
