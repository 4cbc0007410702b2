"""The permissions of the webhook's service account, tried with its own token against a real API server."""

import base64
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.cluster.api import Api, api
from tests.cluster.cluster import NAMESPACE, Cluster, eventually
from tests.cluster.stream import stream
from wisp.base.x509 import new_authority

pytestmark = pytest.mark.cluster
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CONFIGURATION = f"{CONFIGURATIONS}/wisp"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
BUNDLE = "/webhooks/0/clientConfig/caBundle"
OTHER_SERVER = {"url": "https://elsewhere.example/mutate-v1-pod"}
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "5f0d1c9e-0000-4000-8000-00000000000c"}
NOTHING = {"matchLabels": {"wisp.test/never": "true"}}

Document = dict[str, Any]


def _in_webhook(**fields: Any) -> Callable[[Document], None]:
    return lambda document: document["webhooks"][0].update(fields)


def _in_service(**fields: Any) -> Callable[[Document], None]:
    return lambda document: document["webhooks"][0]["clientConfig"]["service"].update(fields)


def _in_metadata(**fields: Any) -> Callable[[Document], None]:
    return lambda document: document["metadata"].update(fields)


def _another(document: Document) -> Document:
    return {**deepcopy(document["webhooks"][0]), "name": "second.wisp.test", "objectSelector": NOTHING}


CHANGES: dict[str, Callable[[Document], object]] = {
    "rules": lambda document: document["webhooks"][0]["rules"][0]["resources"].append("secrets"),
    "rules removed": lambda document: document["webhooks"][0].pop("rules"),
    "url": _in_webhook(clientConfig=OTHER_SERVER),
    "service name": _in_service(name="other"),
    "service namespace": _in_service(namespace="default"),
    "service path": _in_service(path="/other"),
    "service port": _in_service(port=8443),
    "failurePolicy": _in_webhook(failurePolicy="Ignore"),
    "namespaceSelector": _in_webhook(namespaceSelector=NOTHING),
    "objectSelector": _in_webhook(objectSelector={}),
    "objectSelector removed": lambda document: document["webhooks"][0].pop("objectSelector"),
    "matchConditions": _in_webhook(matchConditions=[{"name": "never", "expression": "false"}]),
    "matchPolicy": _in_webhook(matchPolicy="Exact"),
    "reinvocationPolicy": _in_webhook(reinvocationPolicy="Never"),
    "sideEffects": _in_webhook(sideEffects="NoneOnDryRun"),
    "timeoutSeconds": _in_webhook(timeoutSeconds=1),
    "admissionReviewVersions": _in_webhook(admissionReviewVersions=["v1", "v1beta1"]),
    "webhook renamed": _in_webhook(name="other.wisp.test"),
    "webhook added": lambda document: document["webhooks"].append(_another(document)),
    "webhook put first": lambda document: document["webhooks"].insert(0, _another(document)),
    "webhooks removed": lambda document: document.pop("webhooks"),
    "label": lambda document: document["metadata"]["labels"].update(team="other"),
    "labels removed": lambda document: document["metadata"].pop("labels"),
    "annotation": _in_metadata(annotations={"note": "1"}),
    "finalizer": _in_metadata(finalizers=["wisp.test/never"]),
    "owner": _in_metadata(ownerReferences=[OWNER]),
}


@pytest.fixture(name="admin")
def _admin(installed: Cluster) -> Iterator[Api]:
    with api(installed) as administrator:
        yield administrator


@pytest.fixture(name="webhook")
def _webhook(installed: Cluster) -> Iterator[Api]:
    """Connect to the API server as the webhook, when the policy is in force."""
    token = installed.kubectl("create", "token", "wisp", "-n", NAMESPACE).strip()
    label = [{"op": "add", "path": "/metadata/labels/probe", "value": "1"}]
    with api(installed, token) as account:
        eventually(lambda: account.ask("PATCH", f"{CONFIGURATION}?dryRun=All", label).status == 422, "the policy")
        yield account


def _bundle(document: Document) -> bytes:
    return base64.b64decode(document["webhooks"][0]["clientConfig"]["caBundle"])


def _operations(before: Document, after: Document) -> list[Document]:
    """Return a JSON patch from `before` to `after`."""
    made: list[Document] = []
    for field in ("metadata", "webhooks"):
        if field not in after:
            made.append({"op": "remove", "path": f"/{field}"})
        elif after[field] != before[field]:
            made.append({"op": "replace", "path": f"/{field}", "value": after[field]})
    return made


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_changes_of_the_configuration_are_denied(
    webhook: Api, admin: Api, change: Callable[[Document], object]
) -> None:
    """The message says what is allowed. The administrator may make the same change."""
    before = admin.ask("GET", CONFIGURATION).document
    after = deepcopy(before)
    change(after)
    operations = _operations(before, after)
    denied = webhook.ask("PATCH", CONFIGURATION, operations)
    assert denied.status == 422, denied
    assert "ValidatingAdmissionPolicy 'wisp' with binding 'wisp' denied request" in denied.message
    assert "the webhook's service account may change only caBundle, not " in denied.message
    allowed = admin.ask("PATCH", f"{CONFIGURATION}?dryRun=All", operations)
    assert allowed.status == 200, allowed.message
    assert admin.ask("GET", CONFIGURATION).document["webhooks"] == before["webhooks"]


def test_reordered_webhooks_are_denied(webhook: Api, admin: Api) -> None:
    """And so is the removal of one of two. The webhook sets the bundle of both."""
    before = admin.ask("GET", CONFIGURATION).document["webhooks"]
    second = _another({"webhooks": deepcopy(before)})
    del second["clientConfig"]["caBundle"]
    assert admin.ask("PATCH", CONFIGURATION, {"webhooks": [*before, second]}).status == 200
    try:
        eventually(lambda: _bundles(admin) == {before[0]["clientConfig"]["caBundle"]}, "the bundle to be in both")
        both = admin.ask("GET", CONFIGURATION).document["webhooks"]
        for changed in (both[::-1], both[:1], both[1:]):
            denied = webhook.ask("PATCH", CONFIGURATION, [{"op": "replace", "path": "/webhooks", "value": changed}])
            assert denied.status == 422, denied
            assert "not add, remove, rename or reorder webhooks" in denied.message
    finally:
        assert admin.ask("PATCH", CONFIGURATION, {"webhooks": before}).status == 200


def _bundles(admin: Api) -> set[str | None]:
    webhooks = admin.ask("GET", CONFIGURATION).document["webhooks"]
    return {webhook["clientConfig"].get("caBundle") for webhook in webhooks}


def test_ca_bundle_can_be_changed(webhook: Api, admin: Api) -> None:
    """The webhook does it, too: it restores its CA immediately."""
    before = admin.ask("GET", CONFIGURATION).document
    own = _bundle(before)
    removal = webhook.ask("PATCH", CONFIGURATION, [{"op": "remove", "path": BUNDLE}])
    assert removal.status == 200, removal.message
    eventually(lambda: _bundles(admin) == {base64.b64encode(own).decode()}, "the authority to be back")
    after = admin.ask("GET", CONFIGURATION).document
    assert after["webhooks"] == before["webhooks"]


def test_foreign_authorities_are_removed(installed: Cluster, admin: Api) -> None:
    """From configuration and Secret. No pod is rejected meanwhile."""
    own = _bundle(admin.ask("GET", CONFIGURATION).document)
    foreign = new_authority("wisp webhook CA", now=time.time(), seconds=86400).certificate_pem
    both = base64.b64encode(own + foreign).decode()
    with stream(installed) as made:
        changed = admin.ask("PATCH", CONFIGURATION, [{"op": "replace", "path": BUNDLE, "value": both}])
        assert _bundle(changed.document) == own + foreign
        eventually(lambda: _bundle(admin.ask("GET", CONFIGURATION).document) == own, "the configuration as it was")
        changed = admin.ask("PATCH", f"{SECRETS}/wisp-tls", {"data": {"ca.crt": both}})
        assert changed.document["data"]["ca.crt"] == both
        eventually(lambda: _authorities(admin) == own, "the Secret as it was")
    assert _bundle(admin.ask("GET", CONFIGURATION).document) == own
    assert made.faults() == []
    assert made.rejections() == set()


def _authorities(admin: Api) -> bytes:
    return base64.b64decode(admin.ask("GET", f"{SECRETS}/wisp-tls").document["data"]["ca.crt"])


def test_certificates_are_renewed_under_the_policy(installed: Cluster, webhook: Api, admin: Api) -> None:
    """A new CA is added to the bundle. No pod is rejected meanwhile."""
    before = _bundle(admin.ask("GET", CONFIGURATION).document)
    with stream(installed) as made:
        emptied = admin.ask("PATCH", f"{SECRETS}/wisp-tls", [{"op": "remove", "path": "/data"}])
        assert emptied.status == 200
        eventually(lambda: _bundle(admin.ask("GET", CONFIGURATION).document) != before, "another authority")
        made.wait_until_admitted()
    assert made.faults() == []
    assert made.rejections() == set()
    assert webhook.ask("PATCH", CONFIGURATION, {"metadata": {"labels": {"team": "other"}}}).status == 422


def test_expressions_of_the_policy_are_well_typed(admin: Api) -> None:
    """The API server has checked them against the type of the configuration, without a warning."""

    def status() -> Document:
        found: Document = admin.ask("GET", f"{POLICIES}/wisp").document.get("status", {})
        return found

    eventually(lambda: "typeChecking" in status(), "the policy to be checked")
    assert status()["typeChecking"] == {}


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("POST", CONFIGURATIONS, {"metadata": {"name": "other"}}),
        ("DELETE", CONFIGURATION, None),
        ("PATCH", f"{CONFIGURATIONS}/other", {"metadata": {"labels": {"a": "b"}}}),
        ("PATCH", f"{POLICIES}/wisp", {"metadata": {"labels": {"a": "b"}}}),
        ("DELETE", f"{POLICIES}/wisp", None),
        ("DELETE", f"{POLICIES.removesuffix('ies')}ybindings/wisp", None),
        ("POST", SECRETS, {"metadata": {"name": "other"}}),
        ("GET", SECRETS, None),
        ("DELETE", f"{SECRETS}/wisp-tls", None),
        ("GET", "/api/v1/namespaces/kube-system/secrets/wisp-tls", None),
        ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/wisp", {"metadata": {"labels": {"a": "b"}}}),
        ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/wisp/token", {"spec": {}}),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/pods", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_requests_are_forbidden(webhook: Api, method: str, path: str, body: Document | None) -> None:
    """RBAC forbids it."""
    forbidden = webhook.ask(method, path, body)
    assert forbidden.status == 403, forbidden
    assert f'User "system:serviceaccount:{NAMESPACE}:wisp" cannot' in forbidden.message
