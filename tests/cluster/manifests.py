"""Manifests of pods and other objects, for tests."""

from typing import Any

Manifest = dict[str, Any]

PREFIX = "azure.workload.identity/"
LABELLED = {f"{PREFIX}use": "true"}
SIDECAR = {f"{PREFIX}inject-proxy-sidecar": "true"}
PROXY_ONLY = {f"{PREFIX}inject-proxy-only": "true"}
"""The sidecar, with the identity only in it."""
ENV_MODE = {**SIDECAR, f"{PREFIX}inject-proxy-mode": "env"}
ACCOUNT = "app"
UBUNTU = "ubuntu:20.04"
"""Debian's packages, curl among them: `wisp_local.lab.node.images`."""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The minimum that Pod Security `restricted` requires of a container."""


def container(name: str = "app", *command: str, **fields: Any) -> Manifest:
    """Return a container that runs `command`, or sleeps."""
    return {"name": name, "image": UBUNTU, "command": list(command or ("sleep", "infinity")), **fields}


def pod(
    name: str,
    *containers: Manifest,
    labels: dict[str, str] = LABELLED,
    annotations: dict[str, str] = SIDECAR,
    **spec: Any,
) -> Manifest:
    """Return a pod with `containers`, or with one that sleeps; it ends within a second of SIGTERM."""
    made = template(*containers, labels=labels, annotations=annotations, **spec)
    return {"apiVersion": "v1", "kind": "Pod", **made, "metadata": {"name": name, **made["metadata"]}}


def template(
    *containers: Manifest, labels: dict[str, str] = LABELLED, annotations: dict[str, str] = SIDECAR, **spec: Any
) -> Manifest:
    """Return the template of a pod for a workload resource."""
    usual = {"serviceAccountName": ACCOUNT, "terminationGracePeriodSeconds": 1}
    return {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {**usual, "containers": list(containers or (container(),)), **spec},
    }


def account(client_id: str, name: str = ACCOUNT) -> Manifest:
    """Return a service account that may act as an identity."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": {f"{PREFIX}client-id": client_id}},
    }


def namespace(name: str, labels: dict[str, str]) -> Manifest:
    """Return a namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
