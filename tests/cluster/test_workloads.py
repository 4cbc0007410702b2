"""Workload resources: their pods get the identity as other pods do."""

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import LABELLED, Manifest, container, template
from tests.cluster.team import TOKEN, Team, curl, make_team, parse_response

pytestmark = pytest.mark.cluster
CONTROLLERS = ("ReplicaSet", "StatefulSet", "DaemonSet")
"""Kinds whose pods keep running."""


def _controller(kind: str) -> Manifest:
    labels = {**LABELLED, "kind": kind.lower()}
    spec = {"selector": {"matchLabels": labels}, "template": template(labels=labels)}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": kind.lower()}, "spec": spec}


def _cron_job() -> Manifest:
    asks = template(container("app", *curl(TOKEN, "-H", "Metadata:true")), restartPolicy="OnFailure")
    spec = {"schedule": "0 0 31 2 *", "jobTemplate": {"spec": {"template": asks}}}  # by hand only
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": spec}


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster) -> Team:
    team = make_team(cluster, "workloads", *(_controller(kind) for kind in CONTROLLERS), _cron_job())
    team.kubectl("create", "job", "tonight", "--from=cronjob/nightly")
    return team


@pytest.mark.parametrize("kind", CONTROLLERS)
def test_pods_of_a_controller_get_tokens(kind: str, team: Team) -> None:
    """With or without a name when they are admitted."""
    selected = ("-l", f"kind={kind.lower()}")
    team.kubectl("wait", "--for=create", "pod", *selected, "--timeout=300s")
    team.kubectl("wait", "--for=condition=Ready", "pod", *selected, "--timeout=300s")
    (made,) = team.get("pods", *selected)["items"]
    team.claims(team.ask(made["metadata"]["name"]))


def test_job_of_a_cron_job_completes(team: Team) -> None:
    """The sidecar does not prevent its end."""
    team.kubectl("wait", "--for=condition=Complete", "job/tonight", "--timeout=300s")
    team.claims(parse_response(team.kubectl("logs", "job/tonight")))
