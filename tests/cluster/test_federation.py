"""Federated credentials that do not match: what the application hears, and that a pod recovers once they do."""

import pytest

from tests.cluster.manifests import ACCOUNT, account, pod
from tests.cluster.site import Site, eventually
from tests.cluster.team import settle

pytestmark = pytest.mark.cluster


def test_a_misspelt_subject_is_put_right_without_a_new_pod(cluster: Site) -> None:
    """Entra's own refusal comes through, with the subject that the pod has; the pod stays while it is mended."""
    team = settle(cluster, "misspelt")
    cluster.identity(team.namespace, (team.namespace, "ap"))
    team.make(pod("app"))
    team.ready("app")
    refusal = team.ask("app")
    assert (refusal.status, refusal.answer["error"]) == (401, "invalid_client")
    described = refusal.answer["error_description"]
    assert described.startswith("AADSTS700213: ")
    assert f"'{team.subject}'" in described
    assert "Trace ID: " in described
    before = team.get("pod", "app")
    cluster.identity(team.namespace, (team.namespace, ACCOUNT))
    eventually(lambda: team.ask("app").status == 200, "the token")
    after = team.get("pod", "app")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert {each["restartCount"] for each in _statuses(after)} == {0}


def _statuses(pod: dict[str, dict[str, list[dict[str, int]]]]) -> list[dict[str, int]]:
    status = pod["status"]
    return [*status["containerStatuses"], *status["initContainerStatuses"]]


def test_another_namespaces_account_is_not_trusted(cluster: Site) -> None:
    """A service account of the same name and annotation, in a namespace that no credential names, gets no token."""
    team, stranger = settle(cluster, "trusted"), settle(cluster, "stranger")
    stranger.make(account(team.identity.client_id, "borrower"), pod("app", serviceAccountName="borrower"))
    stranger.ready("app")
    refusal = stranger.ask("app")
    assert refusal.status == 401
    assert refusal.answer["error_description"].startswith("AADSTS700213: ")
    assert "'system:serviceaccount:stranger:borrower'" in refusal.answer["error_description"]
