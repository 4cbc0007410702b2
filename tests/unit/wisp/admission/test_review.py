"""Admission reviews: parsing, decisions and answers."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wisp.admission.pods import POLICY, account, mutation, pod, read, review, with_sidecar
from wisp.admission.policy import CustomTokenEndpoint, UnknownCA
from wisp.admission.review import AccountRef, Admit, Refuse, ReviewError, answer, decide, required_account

UID = "705ab4f5-6393-11e8-b7cc-42010a800002"


def test_account_of_the_pod_is_required() -> None:
    """The review's namespace counts, since a new pod may not have one."""
    document = pod(serviceAccountName="app")
    document["metadata"]["namespace"] = "elsewhere"
    assert required_account(read(review(document))) == AccountRef("apps", "app")
    assert required_account(read(review(pod()))) == AccountRef("apps", "default")
    assert required_account(read(review(pod(serviceAccount="old")))) == AccountRef("apps", "old")


@pytest.mark.parametrize("spec", [{}, {"spec": None}], ids=["absent", "null"])
def test_pod_without_a_spec_is_refused(spec: dict[str, Any]) -> None:
    """A patch could not be applied to it."""
    decision = decide(read(review({"metadata": pod()["metadata"], **spec})), account(), POLICY)
    assert decision == Refuse(400, "the pod has no spec: add a spec with the pod's containers")


@pytest.mark.parametrize("proxy_only", [False, True], ids=["for all containers", "for the sidecar"])
def test_pod_waits_for_the_ca_of_the_token_endpoint(*, proxy_only: bool) -> None:
    """With 503, since it can be admitted later. Pods that do not ask for the endpoint are not affected."""
    endpoint = CustomTokenEndpoint(
        suffix="binding", audience="api://binding", url="https://proxy.test/", ca=UnknownCA("/endpoint-ca/ca.crt")
    )
    policy = replace(POLICY, token_endpoint=endpoint, proxy_only=proxy_only)
    decision = decide(read(review(with_sidecar(annotations={"use-binding": "true"}))), account(), policy)
    assert isinstance(decision, Refuse)
    assert decision.code == 503
    assert "no certificate in /endpoint-ca/ca.crt" in decision.message
    assert "try again in two minutes" in decision.message
    assert isinstance(decide(read(review(with_sidecar())), account(), policy), Admit)
    wrong = read(review(pod(annotations={"use-binding": "true", "service-account-token-expiration": "1"})))
    decision = decide(wrong, account(), policy)
    assert isinstance(decision, Refuse)
    assert decision.code == 400, "waiting would not help"


def test_review_without_an_operation_is_a_creation() -> None:
    """Otherwise the pod would be admitted without its identity."""
    document = review(pod(serviceAccountName="app"))
    del document["request"]["operation"]
    assert decide(read(document), account(), POLICY) == decide(read(review(pod())), account(), POLICY)


def unlabelled(value: str | None = None) -> dict[str, Any]:
    """Return a pod with another value of the label, or without it."""
    document = pod(serviceAccountName="app")
    document["metadata"]["labels"] = {} if value is None else {"azure.workload.identity/use": value}
    return document


def mirror() -> dict[str, Any]:
    """Return the mirror that a kubelet creates for a static pod, which must not have a service account token."""
    document = with_sidecar()
    document["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "5b0e5c8f"
    return document


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(review(mirror()), id="a static pod's mirror"),
        pytest.param(review(unlabelled()), id="no label"),
        pytest.param(review(unlabelled("false")), id="label false"),
        pytest.param(review(pod(), operation="UPDATE"), id="update"),
        pytest.param(review(pod(), operation="DELETE", object=None), id="delete"),
        pytest.param(review(pod(), subResource="ephemeralcontainers"), id="a debug container"),
    ],
)
def test_pods_without_the_label_and_mirrors_are_admitted_unchanged(document: dict[str, Any]) -> None:
    """There is no patch, and no account is read."""
    admission_review = read(document)
    assert required_account(admission_review) is None
    decision = decide(admission_review, None, POLICY)
    assert answer(admission_review, decision)["response"] == {"uid": UID, "allowed": True}


@pytest.mark.parametrize("value", ["True", "TRUE", "yes", "1", "enabled", "on", ""])
def test_label_with_another_value_causes_a_warning(value: str) -> None:
    """The pod is admitted unchanged, whether or not its account is known."""
    for service_account in (None, {"metadata": {"name": "app"}}):
        decision = decide(read(review(unlabelled(value))), service_account, POLICY)
        text = f'the label azure.workload.identity/use is "{value}": only "true" counts, so nothing is injected'
        assert decision == Admit(warnings=(text,))


def test_update_causes_no_warning() -> None:
    """The author was warned when the pod was created."""
    for changes in ({"operation": "UPDATE"}, {"subResource": "ephemeralcontainers"}):
        assert decide(read(review(unlabelled("True"), **changes)), None, POLICY) == Admit()


def test_label_on_the_account_only_causes_a_warning() -> None:
    """It is added if the account of the unlabelled pod is known."""
    labelled = {"metadata": {"name": "app", "labels": {"azure.workload.identity/use": "true"}}}
    for service_account, warnings in ((labelled, 1), (account(), 1), ({}, 0), ({"metadata": {"labels": []}}, 0)):
        decision = decide(read(review(unlabelled())), service_account, POLICY)
        assert isinstance(decision, Admit)
        assert not decision.patch
        assert len(decision.warnings) == warnings


def test_missing_account_is_refused() -> None:
    """The message is the API server's, with a hint."""
    decision = decide(read(review(pod(serviceAccountName="nobody"))), None, POLICY)
    assert isinstance(decision, Refuse)
    assert decision.code == 400
    assert decision.message.startswith('serviceaccounts "nobody" not found in namespace "apps": create it')


def test_answer_has_the_patch_and_warnings_of_the_mutation() -> None:
    document = with_sidecar(annotations={"skip-containers": "ghost"})
    admission_review = read(review(document))
    response = answer(admission_review, decide(admission_review, account(), POLICY))
    done = mutation(document, account(), POLICY)
    assert json.loads(json.dumps(response)) == response
    patch = response["response"].pop("patch")
    assert json.loads(base64.b64decode(patch, validate=True)) == list(done.operations)
    assert response == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": UID,
            "allowed": True,
            "patchType": "JSONPatch",
            "warnings": ["skip-containers names ghost, which is not a container of the pod"],
        },
    }


def test_refusal_has_a_kubernetes_status() -> None:
    admission_review = read(review(with_sidecar(hostNetwork=True)))
    response = answer(admission_review, decide(admission_review, account(), POLICY))["response"]
    assert response["allowed"] is False
    assert response["status"]["code"] == 400
    assert "hostNetwork" in response["status"]["message"]
    assert set(response) == {"uid", "allowed", "status"}


@pytest.mark.parametrize(
    "service_account",
    [{"metadata": 1}, {"metadata": {"annotations": {"a": 1}}}, {"metadata": {"annotations": []}}],
    ids=str,
)
def test_invalid_account_is_refused(service_account: dict[str, Any]) -> None:
    """The message names the account as the cause."""
    decision = decide(read(review(pod())), service_account, POLICY)
    assert isinstance(decision, Refuse)
    assert decision.message.startswith("ServiceAccount/metadata")


@pytest.mark.parametrize(
    "document, message",
    [
        pytest.param([], "not an AdmissionReview", id="a list"),
        pytest.param({"kind": "Pod"}, "not an AdmissionReview", id="a pod"),
        pytest.param({**review({}), "apiVersion": "admission.k8s.io/v1beta1"}, "v1beta1", id="an old version"),
        pytest.param({**review({}), "request": None}, "no request", id="no request"),
        pytest.param(review({}, uid=""), "no request with a uid", id="no uid"),
        pytest.param(review({}, kind={"group": "apps", "version": "v1", "kind": "Pod"}), "apps", id="another group"),
        pytest.param(review({}, kind={"group": "", "version": "v1", "kind": "Node"}), "Node", id="another kind"),
        pytest.param(review({}, kind="Pod"), "$.request.kind", id="a kind that is text"),
    ],
)
def test_invalid_review_is_an_error(document: object, message: str) -> None:
    """The message describes what was sent."""
    with pytest.raises(ReviewError) as refused:
        read(document)
    assert message in str(refused.value)


def test_core_group_may_be_null() -> None:
    """A missing group means the core group, too."""
    admission_review = read(review(pod(serviceAccountName="app"), kind={"version": "v1", "kind": "Pod"}))
    assert required_account(admission_review) == AccountRef("apps", "app")
