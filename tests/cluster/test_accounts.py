"""Service accounts that are as young as their pods."""

from typing import Any

import pytest

from tests.cluster.api import Api, api
from tests.cluster.identity import faults
from tests.cluster.site import Site, eventually
from tests.cluster.stream import NAMESPACE, account, gated

pytestmark = pytest.mark.cluster
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
ACCOUNTS = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
MANY = 20


def _client_id(number: int) -> str:
    return f"5f0d1c9e-0000-4000-8000-{number:012x}"


@pytest.fixture(name="server")
def _server(served: Site) -> Any:
    served.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with api(served) as server:
        yield server


def test_a_pod_at_once_after_its_account(server: Api) -> None:
    """The account is read where no watch has brought it yet."""
    for number in range(MANY):
        assert server.ask("POST", ACCOUNTS, account(f"young-{number}", _client_id(number))).status == 201
        made = server.ask("POST", f"{PODS}?dryRun=All", gated("young", f"young-{number}"))
        assert made.status == 201, made.message
        assert faults(made.document, _client_id(number)) == []


def test_a_pod_at_once_after_the_annotation(server: Api) -> None:
    """An account at hand that has no client id is read again: it may have got one a moment ago."""
    for number in range(MANY):
        path = f"{ACCOUNTS}/bare-{number}"
        assert server.ask("POST", ACCOUNTS, account(f"bare-{number}", None)).status == 201
        assert server.ask("PATCH", path, account(f"bare-{number}", _client_id(number))).status == 200
        made = server.ask("POST", f"{PODS}?dryRun=All", gated("bare", f"bare-{number}"))
        assert faults(made.document, _client_id(number)) == []


@pytest.mark.usefixtures("server")
def test_pods_before_their_account(served: Site) -> None:
    """A Deployment waits for its account, and none of its pods comes by without the identity."""
    template = gated("ignored", "tardy")
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
    served.apply(deployment, account("tardy", _client_id(99)))

    def pods() -> list[dict[str, Any]]:
        return list(served.get("pods", "-n", NAMESPACE, "-l", "app=tardy")["items"])

    eventually(lambda: len(pods()) == 3, "the Deployment's pods")
    assert [fault for each in pods() for fault in faults(each, _client_id(99))] == []
    served.kubectl("delete", "deployment", "tardy", "-n", NAMESPACE)


def test_no_account_at_all(server: Api) -> None:
    """The API server itself refuses the pod, before the webhook is asked."""
    refused = server.ask("POST", PODS, gated("nobodys", "nobody"))
    assert refused.status == 403
    assert 'serviceaccount "nobody" not found' in refused.message
