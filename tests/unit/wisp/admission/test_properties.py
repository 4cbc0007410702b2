"""Properties of the mutation that hold for every pod and every review."""

import base64
import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.wisp.admission.pods import ACCOUNTS, JSON, PODS, POLICIES, POLICY, account, mutation, read, review
from tests.unit.wisp.admission.pointer import patched
from wisp.admission import review as reviews
from wisp.admission.mutate import mutate
from wisp.admission.policy import Policy
from wisp.admission.review import Admit, Refuse, ReviewError, answer, decide, required_account
from wisp.admission.warnings import MAX_LENGTH, MAX_WARNINGS

LABELS = {"azure.workload.identity/use": "true"}
anyhow = settings(suppress_health_check=[HealthCheck.too_slow])  # pods take a while to think up on a busy machine
OURS = ("azwi-proxy", "azwi-proxy-init")


def own(pod: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the pod's own containers."""
    return [container for container in pod["spec"].get(key) or [] if container["name"] not in OURS]


@anyhow
@given(PODS, ACCOUNTS, POLICIES)
def test_mutating_twice_changes_nothing(pod: dict[str, Any], service_account: dict[str, Any], policy: Policy) -> None:
    """The second patch is empty."""
    once = mutate(pod, service_account, policy)
    assert mutation(once, service_account, policy).operations == ()


@anyhow
@given(PODS, ACCOUNTS, POLICIES)
def test_patch_gives_the_mutated_pod(pod: dict[str, Any], service_account: dict[str, Any], policy: Policy) -> None:
    """Applying the encoded patch gives what `mutate` returns; the original pod is not changed."""
    before = deepcopy(pod)
    admission_review = read(review(pod))
    response = answer(admission_review, decide(admission_review, service_account, policy))["response"]
    patch = json.loads(base64.b64decode(response.get("patch", "W10=")))
    assert patched(pod, patch) == mutate(pod, service_account, policy)
    assert pod == before


@anyhow
@given(PODS, ACCOUNTS, POLICIES)
def test_existing_containers_and_fields_stay(
    pod: dict[str, Any], service_account: dict[str, Any], policy: Policy
) -> None:
    """Containers have the same order and content, and unknown fields stay."""
    after = mutate(pod, service_account, policy)
    assert {key: value for key, value in after["spec"].items() if key in pod["spec"] and key not in _TOUCHED} == {
        key: value for key, value in pod["spec"].items() if key not in _TOUCHED
    }
    for key in ("containers", "initContainers"):
        assert [container["name"] for container in own(after, key)] == [
            container["name"] for container in own(pod, key)
        ]
        for theirs, ours in zip(own(pod, key), own(after, key), strict=True):
            rest = [name for name in theirs if name not in ("env", "volumeMounts")]
            assert {name: ours[name] for name in rest} == {name: theirs[name] for name in rest}
            present = theirs.get("env") or []
            if any(str(mount["name"]).startswith(_TOKEN) for mount in theirs.get("volumeMounts") or []):
                # An earlier mutation's variables are taken away where the sidecar alone has the identity.
                present = [variable for variable in present if variable in (ours.get("env") or [])]
            assert (ours.get("env") or [])[: len(present)] == present


_TOUCHED = ("containers", "initContainers", "volumes")
_TOKEN = "azure-workload-identity-"


@anyhow
@given(PODS, ACCOUNTS, POLICIES)
def test_our_containers_are_first_and_once(
    pod: dict[str, Any], service_account: dict[str, Any], policy: Policy
) -> None:
    """The redirect comes first, then the sidecar, then the pod's own containers."""
    after = mutate(pod, service_account, policy)
    annotations = pod["metadata"].get("annotations") or {}
    if {"true", ""} & {
        annotations.get(f"azure.workload.identity/inject-proxy-{suffix}") for suffix in ("sidecar", "only")
    }:
        inits = [container["name"] for container in after["spec"].get("initContainers") or []]
        regular = [container["name"] for container in after["spec"]["containers"]]
        assert "azwi-proxy" in (*inits[:2], *regular[:1])
        assert (after["metadata"]["annotations"].get("azure.workload.identity/inject-proxy-mode") == "env") or (
            inits[0] == "azwi-proxy-init"
        )
        before = [
            container["name"] for key in ("initContainers", "containers") for container in pod["spec"].get(key) or []
        ]
        assert (*inits, *regular).count("azwi-proxy") == max(before.count("azwi-proxy"), 1)


@anyhow
@given(PODS, ACCOUNTS, POLICIES)
def test_warnings_are_short_and_few(pod: dict[str, Any], service_account: dict[str, Any], policy: Policy) -> None:
    """Kubernetes recommends at most 120 characters each."""
    warnings = mutation(pod, service_account, policy).warnings
    assert len(warnings) <= MAX_WARNINGS
    assert all(len(warning) <= MAX_LENGTH and warning.isprintable() for warning in warnings)


@anyhow
@given(JSON, JSON)
def test_any_json_as_a_review_is_read_or_refused(document: Any, other: Any) -> None:
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    for request in (document, {"uid": document, "kind": kind}, {"uid": "1", "kind": document, "namespace": other}):
        for body in (document, {"kind": document, "apiVersion": other}, {**review({}), "request": request}):
            try:
                admission_review = read(body)
            except ReviewError as error:
                assert error.hint  # noqa: PT017 -- it need not be raised
            else:
                assert admission_review.uid == document != ""


@anyhow
@given(st.binary(max_size=64), st.binary(max_size=64))
def test_any_bytes_in_a_review_are_decided_or_refused(first: bytes, second: bytes) -> None:
    """The review or the pod in it is refused if the bytes are not JSON."""
    whole = json.dumps(review({"metadata": {"labels": LABELS, "name": "FIRST"}, "spec": {"a": "SECOND"}})).encode()
    for before, after in ((b'"FIRST"', b'"SECOND"'), (b"FIRST", b"SECOND"), (b'"uid"', b'"object"')):
        body = whole.replace(before, first).replace(after, second)
        try:
            decision = decide(reviews.read_review(body), account(), POLICY)
        except ReviewError:
            continue
        assert isinstance(decision, Admit | Refuse)


@anyhow
@given(JSON, JSON)
def test_any_json_as_a_pod_is_decided(document: Any, spec: Any) -> None:
    """This includes invalid pods and invalid service accounts."""
    for pod in (document, {"metadata": document, "spec": spec}, {"metadata": {"labels": LABELS}, "spec": spec}):
        if type(pod) is not dict:
            with pytest.raises(ReviewError, match="not a Pod"):
                read(review(pod))
            continue
        admission_review = read(review(pod))
        required_account(admission_review)
        for service_account in (account(), None, {"metadata": document}):
            assert isinstance(decide(admission_review, service_account, POLICY), Admit | Refuse)


@anyhow
@given(JSON, JSON, JSON, JSON)
def test_any_json_in_a_labelled_pod_is_decided(
    annotations: Any, containers: Any, environment: Any, volumes: Any
) -> None:
    """A pod that an API server would never send is refused with a message."""
    container = {"name": "a", "env": environment, "volumeMounts": volumes, "ports": environment, "resources": volumes}
    for inner in (
        containers,
        [container],
        [{**container, "securityContext": containers, "env": [{"name": containers}]}],
    ):
        sidecar = {
            "azure.workload.identity/inject-proxy-sidecar": "",
            "azure.workload.identity/inject-proxy-mode": "env",
        }
        for values in (annotations, sidecar):
            pod = {
                "metadata": {"labels": LABELS, "annotations": values},
                "spec": {"containers": inner, "volumes": volumes, "securityContext": containers},
            }
            decision = decide(read(review(pod)), {"metadata": {"annotations": {}}}, POLICY)
            assert isinstance(decision, Admit | Refuse)
            if isinstance(decision, Refuse):
                assert decision.code == 400
