"""What the gateway's service account may do, tried with its own token, and how its pods are confined."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.api import Api, api
from tests.cluster.cluster import NAMESPACE, Cluster
from tests.cluster.gateway import NAME, SECRET

pytestmark = pytest.mark.cluster
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
ACCOUNTS = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/wisp"


@pytest.fixture(name="account", scope="module")
def _account(gateway: Cluster) -> Iterator[Api]:
    """Connect to the API server as the gateway."""
    token = gateway.kubectl("create", "token", NAME, "-n", NAMESPACE).strip()
    with api(gateway, token) as connection:
        yield connection


def test_gateway_asks_for_both_reviews(account: Api) -> None:
    """And for its certificates."""
    review = account.ask("POST", TOKEN_REVIEWS, {"spec": {"token": "x", "audiences": ["y"]}})
    assert (review.status, review.document["status"].get("authenticated", False)) == (201, False)
    attributes = {"verb": "use-managed-identity", "group": "cid.wi.aks.azure.com", "resource": "x"}
    review = account.ask("POST", ACCESS_REVIEWS, {"spec": {"user": "nobody", "resourceAttributes": attributes}})
    assert (review.status, review.document["status"]["allowed"]) == (201, False)
    assert account.ask("GET", f"{SECRETS}/{SECRET}").status == 200


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("GET", SECRETS, None),
        ("GET", f"{SECRETS}/wisp-tls", None),
        ("POST", SECRETS, {"metadata": {"name": "other"}}),
        ("DELETE", f"{SECRETS}/{SECRET}", None),
        ("GET", f"/api/v1/namespaces/kube-system/secrets/{SECRET}", None),
        ("GET", "/api/v1/secrets", None),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/pods", None),
        ("GET", "/api/v1/serviceaccounts", None),
        ("GET", "/api/v1/nodes", None),
        ("GET", "/api/v1/configmaps", None),
        ("GET", CONFIGURATION, None),
        ("PATCH", CONFIGURATION, {"metadata": {"labels": {"a": "b"}}}),
        ("GET", ROLES, None),
        ("POST", ROLES, {"metadata": {"name": "other"}, "rules": []}),
        ("POST", BINDINGS, {"metadata": {"name": "other"}, "roleRef": {}, "subjects": []}),
        ("PATCH", f"{ROLES}/{NAME}", {"metadata": {"labels": {"a": "b"}}}),
        ("POST", f"{ACCOUNTS}/{NAME}/token", {"spec": {}}),
        ("POST", f"{ACCOUNTS}/wisp/token", {"spec": {}}),
        ("POST", "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews", {"spec": {}}),
        ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", {"metadata": {"name": "other"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_requests_are_forbidden(account: Api, method: str, path: str, body: dict[str, Any] | None) -> None:
    """RBAC forbids it."""
    forbidden = account.ask(method, path, body)
    assert forbidden.status == 403, forbidden
    assert f'User "system:serviceaccount:{NAMESPACE}:{NAME}" cannot' in forbidden.message


def test_pods_satisfy_pod_security_restricted(gateway: Cluster) -> None:
    """The API server has no warning about the namespace's pods. They run as another user, without capabilities."""
    label = ("label", "namespace", NAMESPACE, "--dry-run=server", "--overwrite")
    warned = gateway.try_kubectl(*label, "pod-security.kubernetes.io/enforce=restricted")
    assert (warned.returncode, warned.stderr) == (0, "")
    pods = gateway.get("pods", "-n", NAMESPACE)["items"]
    assert [pod for pod in pods if pod["spec"]["serviceAccountName"] == NAME]
