"""Pods that are created immediately after, or before, their service accounts."""

from typing import Any

import pytest

from tests.cluster.api import Api, api
from tests.cluster.cluster import Cluster, eventually
from tests.cluster.identity import faults
from tests.cluster.stream import NAMESPACE, account, gated_pod

pytestmark = pytest.mark.cluster
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
ACCOUNTS = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
MANY = 20


def _client_id(number: int) -> str:
    return f"5f0d1c9e-0000-4000-8000-{number:012x}"


@pytest.fixture(name="server")
def _server(installed: Cluster) -> Any:
    installed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with api(installed) as server:
        yield server


def test_pod_created_right_after_its_service_account_gets_the_identity(server: Api) -> None:
    """The webhook reads the service account if its watch has not delivered it yet."""
    for number in range(MANY):
        assert server.ask("POST", ACCOUNTS, account(f"young-{number}", _client_id(number))).status == 201
        made = server.ask("POST", f"{PODS}?dryRun=All", gated_pod("young", f"young-{number}"))
        assert made.status == 201, made.message
        assert faults(made.document, _client_id(number)) == []


def test_pod_created_right_after_the_annotation_gets_the_identity(server: Api) -> None:
    """The webhook reads a known service account without a client id again: it may be new."""
    for number in range(MANY):
        path = f"{ACCOUNTS}/bare-{number}"
        assert server.ask("POST", ACCOUNTS, account(f"bare-{number}", None)).status == 201
        assert server.ask("PATCH", path, account(f"bare-{number}", _client_id(number))).status == 200
        made = server.ask("POST", f"{PODS}?dryRun=All", gated_pod("bare", f"bare-{number}"))
        assert faults(made.document, _client_id(number)) == []


@pytest.mark.usefixtures("server")
def test_pods_wait_for_their_service_account(installed: Cluster) -> None:
    """No pod of a Deployment is created without the identity."""
    template = gated_pod("ignored", "tardy")
    template["metadata"] = {**template["metadata"], "labels": {**template["metadata"]["labels"], "app": "tardy"}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "tardy", "namespace": NAMESPACE},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "tardy"}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    }
    del template["metadata"]["name"]
    installed.apply(deployment, account("tardy", _client_id(99)))

    def pods() -> list[dict[str, Any]]:
        return list(installed.get("pods", "-n", NAMESPACE, "-l", "app=tardy")["items"])

    eventually(lambda: len(pods()) == 3, "the Deployment's pods")
    assert [fault for pod in pods() for fault in faults(pod, _client_id(99))] == []
    installed.kubectl("delete", "deployment", "tardy", "-n", NAMESPACE)


def test_pod_without_a_service_account_is_rejected_by_the_api_server(server: Api) -> None:
    """Before it calls the webhook."""
    refused = server.ask("POST", PODS, gated_pod("nobodys", "nobody"))
    assert refused.status == 403
    assert 'serviceaccount "nobody" not found' in refused.message
