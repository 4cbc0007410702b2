"""What our two containers are: the redirect and the sidecar. Knows what is wanted, but no other container.

Both suit Pod Security `baseline` but for the redirect's NET_ADMIN; the sidecar alone suits `restricted`.
"""

from functools import lru_cache
from typing import Any

from wisp import SIDECAR_UID
from wisp.admission.contract import Policy, Resources
from wisp.admission.names import REDIRECT, SIDECAR
from wisp.admission.shape import Amounts, Container, Object, Requirements
from wisp.admission.wanted import Sidecar
from wisp.imds.passthrough import SEGMENTS

_CONFINED: Object = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_SAID: Object = {"terminationMessagePolicy": "FallbackToLogsOnError"}
"""What it says when it cannot start is in the pod's status, where `kubectl describe` shows it; no file is written."""
_SIDECAR_CONTEXT: Object = {
    **_CONFINED,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": SIDECAR_UID,
    "runAsGroup": SIDECAR_UID,
}
_REDIRECT_CONTEXT: Object = {
    **_CONFINED,
    "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
    # Runtimes give added capabilities to root only; a pod's own runAsNonRoot would forbid it.
    "runAsNonRoot": False,
    "runAsUser": 0,
    "runAsGroup": 0,
}


def redirect(sidecar: Sidecar, policy: Policy, *, guaranteed: bool) -> Object:
    """Return the init container that installs the redirect. It gets neither the token nor the Azure environment."""
    return {
        "name": REDIRECT,
        "image": policy.redirect_image,
        "imagePullPolicy": policy.image_pull_policy,
        "args": ["redirect", "up", f"--proxy-port={sidecar.port}"],
        **_resources(sidecar.redirect_resources, guaranteed=guaranteed),
        **_SAID,
        "securityContext": _REDIRECT_CONTEXT,
    }


def proxy(sidecar: Sidecar, policy: Policy, *, guaranteed: bool) -> Object:
    """Return the sidecar's container, but for what every container gets.

    The postStart hook keeps what comes after it from starting until it answers: a native sidecar counts as started,
    and kubelet goes on to the next init container, when the hook is through (ContainerStatus.started). A startup probe
    would say the same a second or two later.
    """
    flags = [f"--proxy-port={sidecar.port}", f"--log-level={policy.proxy_log_level}"]
    passthrough = [f"--passthrough={','.join(sidecar.passthrough) or 'none'}"]
    container: dict[str, Any] = {
        "name": SIDECAR,
        "image": policy.proxy_image,
        "imagePullPolicy": policy.image_pull_policy,
        "command": ["/proxy"],
        "args": flags if sidecar.passthrough == SEGMENTS else [*flags, *passthrough],
        "ports": [{"containerPort": sidecar.port}],
        **_resources(sidecar.resources, guaranteed=guaranteed),
        "lifecycle": {"postStart": {"exec": {"command": ["/proxy", flags[0], "--probe", flags[1]]}}},
        **_SAID,
        "securityContext": _SIDECAR_CONTEXT,
    }
    if policy.native:
        container["restartPolicy"] = "Always"
    return container


@lru_cache(maxsize=64)
def _resources(resources: Resources, *, guaranteed: bool) -> Object:
    """Return the member `resources`, if anything is said; with `guaranteed`, what may be used is asked for."""
    requests = {"cpu": resources.cpu_request, "memory": resources.memory_request}
    limits = {"cpu": resources.cpu_limit, "memory": resources.memory_limit}
    if guaranteed and None not in limits.values():
        requests = limits
    said = {
        kind: {name: value for name, value in values.items() if value is not None}
        for kind, values in (("requests", requests), ("limits", limits))
    }
    return {"resources": {kind: values for kind, values in said.items() if values}} if any(said.values()) else {}


def is_guaranteed(containers: list[Container]) -> bool:
    """Say whether containers like these make a pod's quality of service Guaranteed, which ours must not spoil."""
    return bool(containers) and all(_is_guaranteed(each.resources or Requirements()) for each in containers)


def _is_guaranteed(resources: Requirements) -> bool:
    limits, requests = resources.limits or Amounts(), resources.requests or Amounts()
    return all(
        limit is not None and request in (None, limit)
        for limit, request in ((limits.cpu, requests.cpu), (limits.memory, requests.memory))
    )
