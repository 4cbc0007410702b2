"""Every warning: what it is about, and what it is not."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.support.paths import ROOT
from tests.unit.wisp.admission.pods import (
    JSON,
    OLD_POLICY,
    POLICY,
    PREFIX,
    account,
    mutation,
    pod,
    read,
    review,
    with_sidecar,
)
from wisp.admission import warnings
from wisp.admission.annotations import USE
from wisp.admission.mutate import mutate
from wisp.admission.policy import CustomTokenEndpoint, Policy
from wisp.admission.review import Admit, decide
from wisp.admission.warnings import MAX_LENGTH, warnings_about_unlabelled, warnings_about_unused

DOCUMENT = ROOT / "docs/reference/admission.md"
SETUP = {"name": "setup", "image": "setup:1"}
ENDPOINT = CustomTokenEndpoint(suffix="binding", audience="api://binding", url="https://proxy.test/")
ENV = {"inject-proxy-mode": "env"}
ONLY = {"inject-proxy-only": "true"}
APP = {"name": "app", "image": "app:1"}


def warned(
    document: dict[str, Any], service_account: dict[str, Any] | None = None, policy: Policy = POLICY
) -> tuple[str, ...]:
    """Return the warnings about a pod."""
    return mutation(document, account() if service_account is None else service_account, policy).warnings


def with_metadata(document: dict[str, Any], kind: str, values: dict[str, str]) -> dict[str, Any]:
    """Return an object with more labels or annotations."""
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, kind: {**metadata.get(kind, {}), **values}}}


def unlabelled(kind: str, values: dict[str, str]) -> dict[str, Any]:
    """Return a pod without the label."""
    document = pod()
    document["metadata"]["labels"] = {}
    return with_metadata(document, kind, values)


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], Policy]] = {
    "SIDECAR_DECLINED": ('is "F": no sidecar', pod(annotations={"inject-proxy-sidecar": "F"}), account(), POLICY),
    "NO_CLIENT_ID": ("the service account app has no", pod(), account(client_id=""), POLICY),
    "INVALID_CLIENT_ID": ('client-id "my-app" of', pod(), account(client_id="my-app"), POLICY),
    "INVALID_TENANT": ('tenant-id "my tenant" of', pod(), account(tenant_id="my tenant"), POLICY),
    "TWO_EXPIRATIONS": (
        "the pod's applies",
        pod(annotations={"service-account-token-expiration": "7200"}),
        account(service_account_token_expiration="7201"),
        POLICY,
    ),
    "UNKNOWN_SKIPPED": ("names ghost, which", pod(annotations={"skip-containers": "ghost;"}), account(), POLICY),
    "ALL_SKIPPED": ("every container", pod(annotations={"skip-containers": "app"}), account(), POLICY),
    "SIDECAR_SKIPPED": (
        "names azwi-proxy",
        with_sidecar(annotations={"skip-containers": "azwi-proxy"}),
        account(),
        POLICY,
    ),
    "NO_EFFECT": ("the annotation proxy-sidecar-port", pod(annotations={"proxy-sidecar-port": "1"}), account(), POLICY),
    "UNKNOWN": ("the annotation inject-proxy is", pod(annotations={"inject-proxy": "true"}), account(), POLICY),
    "ON_ACCOUNT": ("the annotation client-id belongs", pod(annotations={"client-id": "x"}), account(), POLICY),
    "NO_ENDPOINT": ("use-binding asks", pod(annotations={"use-binding": "true"}), account(), POLICY),
    "NEVER_ENDS": ("will not end", with_sidecar(restartPolicy="Never"), account(), OLD_POLICY),
    "NO_INIT": ("init containers get no token", with_sidecar(initContainers=[SETUP]), account(), OLD_POLICY),
    "PORT_TAKEN": (
        "container app also declares the sidecar's port 8000",
        with_sidecar({**APP, "ports": [{"containerPort": 8000}]}),
        account(),
        POLICY,
    ),
    "NOT_FORWARDED": (
        "names attested, which the cluster does not allow",
        with_sidecar(annotations={"proxy-passthrough": "instance,attested"}),
        account(),
        replace(POLICY, passthrough=("instance", "versions")),
    ),
    "LOW_PORT": ("port 81 is below", with_sidecar(annotations={"proxy-sidecar-port": "81"}), account(), POLICY),
    "SIDECARS_USER": (
        "container app runs as user 1501",
        with_sidecar({**APP, "securityContext": {"runAsUser": 1501}}),
        account(),
        POLICY,
    ),
    "OTHER_SIDECAR": (
        "its own container azwi-proxy",
        with_sidecar(APP, initContainers=[{"name": "azwi-proxy", "image": "other:1"}]),
        account(),
        POLICY,
    ),
    "MOUNTED": (
        "container app has its own mount at /var/run/secrets/azure/wi",
        pod({**APP, "volumeMounts": [{"name": "own", "mountPath": "/var/run/secrets/azure/wi"}]}),
        account(),
        POLICY,
    ),
    "NO_BOOLEAN": ('inject-proxy-only is "no"', pod(annotations={"inject-proxy-only": "no"}), account(), POLICY),
    "OWN_TOKEN_FILE": (
        "container app sets AZURE_FEDERATED_TOKEN_FILE",
        pod({**APP, "env": [{"name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/own"}]}, annotations=ONLY),
        account(),
        POLICY,
    ),
    "SHARED_ENDPOINT": (
        "use inject-proxy-only",
        with_sidecar(annotations={"use-binding": "true"}),
        account(),
        replace(POLICY, token_endpoint=ENDPOINT),
    ),
    "OWN_ENDPOINT": (
        "container app sets IDENTITY_ENDPOINT",
        with_sidecar({**APP, "env": [{"name": "IDENTITY_ENDPOINT", "value": "http://x"}]}, annotations=ENV),
        account(),
        POLICY,
    ),
    "MAY_BE_WINDOWS": (
        "may run on Windows nodes",
        with_sidecar(
            affinity={
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "kubernetes.io/os", "operator": "In", "values": ["linux", "windows"]}
                                ]
                            }
                        ]
                    }
                }
            }
        ),
        account(),
        POLICY,
    ),
    "BYPASS": (
        "app and 1 more can bypass",
        with_sidecar(APP, initContainers=[SETUP], securityContext=None),
        account(),
        POLICY,
    ),
    "PROXIED": (
        "container app sets a proxy",
        with_sidecar({**APP, "env": [{"name": "HTTP_PROXY", "value": "http://x"}]}, annotations=ENV),
        account(),
        POLICY,
    ),
}


KEY_CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "LABEL_VALUE": (unlabelled("labels", {USE: "True"}), account(), 'is "True": only "true" counts'),
    "NO_LABEL": (
        unlabelled("annotations", {f"{PREFIX}skip-containers": "a", f"{PREFIX}inject-proxy-sidecar": "true"}),
        account(),
        "the annotation skip-containers has no effect: the pod has no label",
    ),
    "LABEL_AS_ANNOTATION": (with_metadata(pod(), "annotations", {USE: "true"}), account(), "the annotation use has"),
    "ANNOTATION_AS_LABEL": (
        with_metadata(pod(), "labels", {f"{PREFIX}tenant-id": "x"}),
        account(),
        "tenant-id has no effect: it is an annotation of the service account",
    ),
    "MISSPELLED_LABEL": (
        with_metadata(pod(), "labels", {"azure.workload.identity.use": "true"}),
        account(),
        f"write {USE}",
    ),
    "MISSPELLED_ANNOTATION": (
        with_metadata(pod(), "annotations", {"azure.workload.identity/skip-container": "a"}),
        account(),
        "write azure.workload.identity/skip-containers",
    ),
    "UNKNOWN_LABEL": (
        with_metadata(pod(), "labels", {f"{PREFIX}enabled": "true"}),
        account(),
        "the label enabled is unknown",
    ),
    "ON_POD": (pod(), account(inject_proxy_sidecar="true"), "the annotation inject-proxy-sidecar belongs on the pod"),
    "UNKNOWN_ON_ACCOUNT": (
        pod(),
        account(subscription_id="x"),
        "the annotation subscription-id of the service account",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_mistake_causes_one_warning(name: str) -> None:
    expected, document, service_account, policy = CASES[name]
    (warning,) = warned(document, service_account, policy)
    assert expected in warning
    assert all(part in warning for part in getattr(warnings, name).split("{}"))


@pytest.mark.parametrize("name", KEY_CASES)
def test_mistaken_key_causes_one_warning(name: str) -> None:
    """The pod is admitted, with no other warning about labels and annotations."""
    document, service_account, expected = KEY_CASES[name]
    decision = decide(read(review(document)), service_account, POLICY)
    assert isinstance(decision, Admit)
    found = [warning for warning in decision.warnings if "asks for an identity" not in warning]
    assert [expected in warning for warning in found] == [True]
    assert all(part in found[0] for part in getattr(warnings, name).split("{}"))


def test_every_warning_is_tested_and_documented() -> None:
    """The warning about pods without the label is tested with reviews."""
    source = Path(warnings.__file__).read_text(encoding="utf-8")
    texts = set(re.findall(r"^([A-Z_]+) = (?:\(\n|[\"'])", source, re.MULTILINE))
    assert texts == {*CASES, *KEY_CASES, "NOT_LABELLED"}
    documented = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in texts if getattr(warnings, name).replace("{}", "…") not in documented] == []


@pytest.mark.parametrize(
    "document, policy",
    [
        pytest.param(pod(), POLICY, id="a plain pod"),
        pytest.param(with_sidecar(initContainers=[SETUP], restartPolicy="Never"), POLICY, id="a Job"),
        pytest.param(with_sidecar(restartPolicy="Always"), OLD_POLICY, id="regular sidecar with restartPolicy Always"),
        pytest.param(pod(annotations={"use-binding": "true"}), replace(POLICY, token_endpoint=ENDPOINT), id="binding"),
        pytest.param(pod(annotations={"use-other": "false"}), POLICY, id="another binding, disabled"),
        pytest.param(with_sidecar(annotations={"skip-containers": "azwi-proxy-init"}), POLICY, id="skipped redirect"),
        pytest.param(
            with_sidecar({**APP, "securityContext": {"runAsUser": 1}}, securityContext={"runAsUser": 1501}),
            POLICY,
            id="container with another user",
        ),
        pytest.param(
            with_sidecar(
                {**APP, "env": [{"name": "HTTP_PROXY"}, {"name": "NO_PROXY", "value": "127.0.0.1"}]}, annotations=ENV
            ),
            POLICY,
            id="forward proxy with an exemption",
        ),
        pytest.param(mutate(with_sidecar(), account(), POLICY), POLICY, id="mutated pod"),
        pytest.param(mutate(with_sidecar(annotations=ENV), account(), POLICY), POLICY, id="mutated pod in env mode"),
        pytest.param(pod(annotations=ONLY), POLICY, id="proxy-only"),
        pytest.param(mutate(pod(annotations=ONLY), account(), POLICY), POLICY, id="mutated proxy-only"),
        pytest.param(
            with_sidecar(mutate(pod(), account(), POLICY)["spec"]["containers"][0], annotations=ONLY),
            POLICY,
            id="proxy-only after a mutation without it",
        ),
    ],
)
def test_correct_pod_causes_no_warning(document: dict[str, Any], policy: Policy) -> None:
    assert warned(document, None, policy) == ()


def capable(*, add: tuple[str, ...] = (), drop: tuple[str, ...] = (), **context: Any) -> dict[str, Any]:
    """Return the security context of a container with capabilities added and dropped."""
    return {"capabilities": {"add": list(add), "drop": list(drop)}, **context}


@pytest.mark.parametrize(
    "pods, container, is_warned",
    [
        pytest.param(None, None, True, id="no security context"),
        pytest.param({}, {}, True, id="empty security contexts"),
        pytest.param({"runAsUser": 0}, None, True, id="root"),
        pytest.param({"runAsUser": 1000}, None, False, id="another user"),
        pytest.param({"runAsNonRoot": True}, None, False, id="not root"),
        pytest.param({"runAsNonRoot": True}, {"runAsNonRoot": False}, True, id="container overrides runAsNonRoot"),
        pytest.param({"runAsUser": 1000}, {"runAsUser": 0}, True, id="container overrides runAsUser"),
        pytest.param(None, {"runAsUser": 1000}, False, id="another user in the container"),
        pytest.param(None, {"runAsUser": 1000, "runAsNonRoot": False}, False, id="user with runAsNonRoot false"),
        pytest.param(None, capable(drop=("ALL",)), False, id="no capabilities"),
        pytest.param(None, capable(drop=("all",)), False, id="no capabilities, lower case"),
        pytest.param(None, capable(drop=("SETUID", "NET_RAW")), False, id="SETUID and NET_RAW dropped"),
        pytest.param(None, capable(drop=("CAP_SETUID", "CAP_NET_RAW")), False, id="dropped with CAP_ prefix"),
        pytest.param(None, capable(drop=("SETUID",)), True, id="default NET_RAW remains"),
        pytest.param(None, capable(drop=("NET_RAW",)), True, id="default SETUID remains"),
        pytest.param(None, capable(add=("SETUID",), drop=("ALL",)), True, id="SETUID added"),
        pytest.param({"runAsNonRoot": True}, capable(add=("SETUID",)), False, id="SETUID added, not root"),
        pytest.param({"runAsNonRoot": True}, capable(add=("NET_RAW",), drop=("ALL",)), True, id="NET_RAW added"),
        pytest.param({"runAsNonRoot": True}, capable(add=("NET_ADMIN",)), True, id="NET_ADMIN added"),
        pytest.param({"runAsNonRoot": True}, capable(add=("ALL",)), True, id="all added"),
        pytest.param(None, capable(drop=("ALL",), privileged=True), True, id="privileged"),
    ],
)
def test_containers_that_can_bypass_the_redirect_cause_a_warning(
    pods: dict[str, Any] | None, container: dict[str, Any] | None, *, is_warned: bool
) -> None:
    """Root with SETUID can become the sidecar's user, and raw packets bypass the redirect."""
    document = with_sidecar({**APP, "securityContext": container}, securityContext=pods)
    expected = (warnings.BYPASS.format("app"),) if is_warned else ()
    assert warned(document) == expected
    assert warned(mutate(document, account(), POLICY)) == expected
    assert warned(with_sidecar(document["spec"]["containers"][0], annotations=ENV, securityContext=pods)) == ()
    assert warned(pod(document["spec"]["containers"][0], securityContext=pods)) == ()


def test_long_names_are_shortened() -> None:
    """The whole warning then fits into its maximum length."""
    (warning,) = warned(pod(annotations={"skip-containers": "x" * 300}))
    assert len(warning) == warnings.MAX_LENGTH
    assert warning.endswith("…, which is not a container of the pod")


def test_warnings_beyond_twelve_are_counted() -> None:
    found = warned(pod(annotations={"skip-containers": ";".join(map(str, range(100)))}))
    assert len(found) == warnings.MAX_WARNINGS
    assert found[-1] == "and 89 more"


def test_line_ends_in_names_are_escaped() -> None:
    (warning,) = warned(pod(annotations={"skip-containers": "a\nb"}))
    assert warning == r"skip-containers names 'a\nb', which is not a container of the pod"


@given(JSON, JSON)
def test_any_metadata_causes_short_warnings(pods: Any, accounts: Any) -> None:
    for metadata in (pods, {"labels": pods, "annotations": accounts}):
        for found in (
            warnings_about_unlabelled(metadata, {"metadata": accounts}),
            warnings_about_unused({"metadata": metadata}),
        ):
            assert all(len(warning) <= MAX_LENGTH and warning.isprintable() for warning in found)


@pytest.mark.parametrize("key", [f"{PREFIX}{'x' * 60}", f"{PREFIX}service-account-token-expiratio"])
def test_long_keys_cause_short_warnings(key: str) -> None:
    for kind in ("labels", "annotations"):
        found = mutation(with_metadata(pod(), kind, {key: "1"}), with_metadata(account(), kind, {key: "1"}), POLICY)
        assert len(found.warnings) == 2
        assert all(len(warning) <= MAX_LENGTH for warning in found.warnings)


def test_label_on_the_account_of_a_labelled_pod_causes_no_warning() -> None:
    """Older guides put the label on service accounts, where it has no effect."""
    assert mutation(pod(), with_metadata(account(), "labels", {USE: "true"}), POLICY).warnings == ()
