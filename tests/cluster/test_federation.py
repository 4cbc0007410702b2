"""Federated credentials that do not match: the error of the application, and the recovery of the pod."""

import pytest

from tests.cluster.cluster import Cluster, eventually
from tests.cluster.manifests import ACCOUNT, account, pod
from tests.cluster.team import make_team

pytestmark = pytest.mark.cluster


def test_corrected_subject_needs_no_new_pod(cluster: Cluster) -> None:
    """The application gets Entra's own error with the pod's subject. The pod stays while the subject is corrected."""
    team = make_team(cluster, "misspelt")
    cluster.identity(team.namespace, (team.namespace, "ap"))
    team.make(pod("app"))
    team.wait_until_ready("app")
    refusal = team.ask("app")
    assert (refusal.status, refusal.document["error"]) == (401, "invalid_client")
    described = refusal.document["error_description"]
    assert described.startswith("AADSTS700213: ")
    assert f"'{team.subject}'" in described
    assert "Trace ID: " in described
    before = team.get("pod", "app")
    cluster.identity(team.namespace, (team.namespace, ACCOUNT))
    eventually(lambda: team.ask("app").status == 200, "the token")
    after = team.get("pod", "app")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert {container["restartCount"] for container in _statuses(after)} == {0}


def _statuses(pod: dict[str, dict[str, list[dict[str, int]]]]) -> list[dict[str, int]]:
    status = pod["status"]
    return [*status["containerStatuses"], *status["initContainerStatuses"]]


def test_service_account_of_another_namespace_gets_no_token(cluster: Cluster) -> None:
    """With the same name and annotation, in a namespace that no credential names."""
    team, stranger = make_team(cluster, "trusted"), make_team(cluster, "stranger")
    stranger.make(account(team.identity.client_id, "borrower"), pod("app", serviceAccountName="borrower"))
    stranger.wait_until_ready("app")
    refusal = stranger.ask("app")
    assert refusal.status == 401
    assert refusal.document["error_description"].startswith("AADSTS700213: ")
    assert "'system:serviceaccount:stranger:borrower'" in refusal.document["error_description"]
