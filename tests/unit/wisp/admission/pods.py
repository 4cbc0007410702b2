"""Pods, service accounts and policies for tests, and hypothesis strategies that generate them."""

import json
from typing import Any

from hypothesis import strategies as st

from wisp.admission import mutate
from wisp.admission import review as reviews
from wisp.admission.mutate import Mutation
from wisp.admission.pod import read_decoded
from wisp.admission.policy import NativeSidecar, Policy
from wisp.admission.review import Review

CLIENT_ID = "6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1"
TENANT = "0f1e2d3c-0000-4000-8000-000000000001"
PREFIX = "azure.workload.identity/"
NON_ROOT = {"runAsNonRoot": True}
POLICY = Policy(tenant_id=TENANT, server_version=(1, 34), proxy_image="wisp:test", redirect_image="wisp:test")
OLD_POLICY = Policy(tenant_id=TENANT, server_version=(1, 31), proxy_image="wisp:test", redirect_image="wisp:test")


def account(name: str = "app", **annotations: str) -> dict[str, Any]:
    """Return a service account with a client id, changed by `annotations` (`_` stands for `-`)."""
    values = {PREFIX + key.replace("_", "-"): value for key, value in {"client_id": CLIENT_ID, **annotations}.items()}
    metadata = {"name": name, "namespace": "apps", "annotations": values}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def pod(*containers: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a labelled pod with the given containers, or with one named `app`; annotations get our prefix.

    It does not run as root, unless `spec` has another security context.
    """
    metadata: dict[str, Any] = {"name": "web", "namespace": "apps", "labels": {f"{PREFIX}use": "true"}}
    if annotations is not None:
        metadata["annotations"] = {PREFIX + key: value for key, value in annotations.items()}
    own = list(containers) or [{"name": "app", "image": "app:1"}]
    whole = {"containers": own, "securityContext": NON_ROOT, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}


def with_sidecar(*containers: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a labelled pod that asks for the sidecar."""
    return pod(*containers, annotations={"inject-proxy-sidecar": "true", **(annotations or {})}, **spec)


def review(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the admission review for the creation of a pod; `changes` override fields of its request."""
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "apps",
        "operation": "CREATE",
        "object": document,
        **changes,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def read(document: Any) -> Review:
    """Parse an admission review given as decoded JSON."""
    return reviews.read_review(json.dumps(document).encode())


def mutation(document: dict[str, Any], service_account: dict[str, Any], policy: Policy) -> Mutation:
    """Return the mutation of a pod given as decoded JSON."""
    return mutate.plan_mutation(read_decoded(document), service_account, policy)


def named(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the container or init container of that name."""
    spec = document["spec"]
    (found,) = [
        container for container in (*spec.get("initContainers", []), *spec["containers"]) if container["name"] == name
    ]
    return dict(found)


def variables(container: dict[str, Any]) -> dict[str, Any]:
    """Return a container's variables that have a value."""
    return {variable["name"]: variable.get("value") for variable in container.get("env", [])}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**20) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_NOVEL = st.dictionaries(st.sampled_from(("novel", "hostUsers", "x-y/z~")), JSON, max_size=2)
_NAMES = st.sampled_from(("a", "b", "istio-proxy", "azwi-proxy", "azwi-proxy-init"))
_ENVS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "IDENTITY_HEADER", "X"))},
        optional={"value": st.sampled_from(("", "mine", CLIENT_ID)), "valueFrom": JSON},
    ),
    max_size=3,
)
_VOLUMES = st.sampled_from(
    ("data", "azure-workload-identity-reserved-" + "0" * 30, "azure-workload-identity-legacy-" + "0" * 30)
)
_MOUNTS = st.lists(
    st.fixed_dictionaries(
        {
            "name": _VOLUMES,
            "mountPath": st.sampled_from(("/data", "/var/run/secrets/azure/wi", "/var/run/secrets/azure/tokens")),
        },
        optional={"readOnly": st.booleans(), "subPath": st.just("token")},
    ),
    max_size=3,
)


_CAPABILITIES = st.lists(st.sampled_from(("ALL", "CAP_SETUID", "NET_RAW", "CHOWN")), max_size=2)
_CONTEXTS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "runAsUser": st.sampled_from((0, 1000, "${UID}")),
        "runAsNonRoot": st.booleans(),
        "privileged": st.booleans(),
        "capabilities": st.none() | st.fixed_dictionaries({}, optional={"add": _CAPABILITIES, "drop": _CAPABILITIES}),
        "seccompProfile": JSON,
    },
)


def _with(novel: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    return {**novel, **known}


_CONTAINERS = st.builds(
    _with,
    _NOVEL,
    st.fixed_dictionaries(
        {"name": _NAMES, "image": st.just("image:1")},
        optional={"env": _ENVS | st.none(), "volumeMounts": _MOUNTS | st.none(), "securityContext": _CONTEXTS},
    ),
)


def _consistent(annotations: dict[str, str]) -> dict[str, str]:
    """Remove an annotation that refuses the sidecar if another annotation asks for it."""
    only, sidecar = f"{PREFIX}inject-proxy-only", f"{PREFIX}inject-proxy-sidecar"
    if annotations.get(only, "false") != "false" and annotations.get(sidecar) == "false":
        return {key: value for key, value in annotations.items() if key != sidecar}
    return annotations


_ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        f"{PREFIX}inject-proxy-sidecar": st.sampled_from(("true", "false", "")),
        f"{PREFIX}inject-proxy-only": st.sampled_from(("true", "false", "", "maybe")),
        f"{PREFIX}inject-proxy-mode": st.sampled_from(("env", "redirect")),
        f"{PREFIX}proxy-sidecar-port": st.sampled_from(("9000", "+80")),
        f"{PREFIX}proxy-passthrough": st.sampled_from(("none", "instance", "scheduledevents-acknowledge")),
        f"{PREFIX}skip-containers": st.sampled_from(("a", " b ; azwi-proxy;", "ghost")),
        f"{PREFIX}proxy-memory-limit": st.sampled_from(("16Mi", "1Gi", "")),
        "other": st.text(max_size=3),
    },
).map(_consistent)
PODS = st.builds(
    lambda metadata, spec: {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
    st.fixed_dictionaries(
        {"labels": st.just({f"{PREFIX}use": "true"})},
        optional={"name": st.just("web"), "generateName": st.just("web-"), "annotations": _ANNOTATIONS | st.none()},
    ),
    st.builds(
        _with,
        _NOVEL,
        st.fixed_dictionaries(
            {
                "containers": st.lists(
                    _CONTAINERS, min_size=1, max_size=3, unique_by=lambda container: container["name"]
                )
            },
            optional={
                "initContainers": st.lists(_CONTAINERS, max_size=3, unique_by=lambda container: container["name"])
                | st.none(),
                "volumes": st.lists(
                    st.fixed_dictionaries({"name": _VOLUMES}, optional={"emptyDir": st.just({})}), max_size=3
                ),
                "restartPolicy": st.sampled_from(("Always", "Never")),
            },
        ),
    ),
)
ACCOUNTS = st.builds(
    lambda annotations: {"metadata": {"name": "app", "annotations": annotations}},
    st.fixed_dictionaries(
        {},
        optional={
            f"{PREFIX}client-id": st.sampled_from((CLIENT_ID, "", "a-name")),
            f"{PREFIX}tenant-id": st.sampled_from((TENANT, "")),
        },
    ),
)
POLICIES = st.builds(
    Policy,
    tenant_id=st.just(TENANT),
    native_sidecar=st.sampled_from(NativeSidecar),
    server_version=st.sampled_from(((1, 31), (1, 34), None)),
    proxy_only=st.booleans(),
    legacy_token_mount=st.booleans(),
)
