"""What a pod gets: the identity's variables, mounts and volumes, and our two containers.

Values are built once for each pod and shared by its containers; none is ever modified.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias, assert_never

from wisp import SIDECAR_UID
from wisp.admission.annotations import IdentityRequest, Mode, SidecarRequest
from wisp.admission.pod import REDIRECT, SIDECAR, Pod
from wisp.admission.policy import (
    ConfigMapCA,
    CustomTokenEndpoint,
    InlineCA,
    Policy,
    Resources,
    TrustBundleCA,
    UnknownCA,
)
from wisp.admission.types import Amounts, Container, Mount, Object, Requirements, RetryError
from wisp.imds.answer import endpoint_variables
from wisp.imds.passthrough import SEGMENTS
from wisp.imds.request import TOKEN_PATH as METADATA_TOKEN_PATH

TOKEN_FILE_VARIABLE = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 -- a variable's name
"""If it is set, Azure SDKs exchange the token themselves instead of asking for a managed identity's token."""
MOUNT_PATH = "/var/run/secrets/azure/wi"
TOKEN_PATH = "token/azure-identity-token"  # noqa: S105 -- a path
TOKEN_FILE = f"{MOUNT_PATH}/{TOKEN_PATH}"
CA_PATH = "ca-cert/ca.crt"
CA_FILE = f"{MOUNT_PATH}/{CA_PATH}"
LEGACY_MOUNT_PATH = "/var/run/secrets/azure/tokens"
"""Where the token was before azure-workload-identity v1.6.0; older applications have it hard-coded."""
LEGACY_TOKEN_PATH = "azure-identity-token"  # noqa: S105 -- a path
VOLUME_PREFIX = "azure-workload-identity-reserved-"
LEGACY_VOLUME_PREFIX = "azure-workload-identity-legacy-"
_HASH_LENGTH = 63 - len(VOLUME_PREFIX)
"""Kubernetes allows 63 characters in a volume's name."""

Builders: TypeAlias = Mapping[str, Callable[[], Object]]
"""Containers by name, in order, and how each is built."""


class Injection(NamedTuple):
    """What a pod's containers get, and its volumes. Variables are in the order in which they are added."""

    application: list[Object]
    """Variables of every container except ours."""
    sidecar: list[Object]
    """Variables of the sidecar."""
    application_mounts: list[Object]
    sidecar_mounts: list[Object]
    volumes: list[Object]
    withheld: list[Object]
    """Variables that only the sidecar may have; empty if every container has the identity."""


def plan_injection(pod: Pod, request: IdentityRequest, policy: Policy) -> Injection:
    """Return what the containers of a pod get."""
    identity, sidecar = _identity(request, policy), request.sidecar
    volumes = [_volume(pod, request, policy)]
    mounts = [_mount(volumes[0]["name"], MOUNT_PATH)]
    is_alone = sidecar is not None and sidecar.has_identity_alone
    if policy.legacy_token_mount and not is_alone:  # the sidecar does not need the legacy path
        # The same token in a volume of its own: a subPath of the one volume would never be renewed.
        token = {**volumes[0]["projected"]["sources"][0]["serviceAccountToken"], "path": LEGACY_TOKEN_PATH}
        name = _volume_name(pod, LEGACY_VOLUME_PREFIX)
        volumes.append({"name": name, "projected": {"sources": [{"serviceAccountToken": token}]}})
        mounts.append(_mount(name, LEGACY_MOUNT_PATH))
    endpoints: list[Object] = []
    own = _variables({"WISP_AUTHORITY_CA_DATA": policy.authority_ca}) if sidecar else []
    if sidecar is not None and sidecar.mode is Mode.ENV:
        header, address = _header(pod), f"http://127.0.0.1:{sidecar.port}"
        endpoints = _variables(
            {**endpoint_variables(address + METADATA_TOKEN_PATH, header), "AZURE_POD_IDENTITY_AUTHORITY_HOST": address}
        )
        own += _variables({"IDENTITY_HEADER": header})
    if is_alone:
        return Injection(endpoints, identity + own, [], mounts, volumes, identity)
    return Injection(identity + endpoints, identity + own, mounts, mounts, volumes, [])


def is_token_mount(mount: Mount) -> bool:
    """Check whether a mount is of a token volume that this or an earlier mutation added."""
    return (mount.name or "").startswith((VOLUME_PREFIX, LEGACY_VOLUME_PREFIX))


def _identity(request: IdentityRequest, policy: Policy) -> list[Object]:
    values: dict[str, str | None] = {
        "AZURE_CLIENT_ID": request.client_id,
        "AZURE_TENANT_ID": request.tenant,
        TOKEN_FILE_VARIABLE: TOKEN_FILE,
        "AZURE_AUTHORITY_HOST": policy.authority_host,
    }
    endpoint = request.endpoint
    if endpoint is not None:
        values["AZURE_KUBERNETES_TOKEN_PROXY"] = endpoint.url
        values["AZURE_KUBERNETES_SNI_NAME"] = endpoint.sni_name
        values["AZURE_KUBERNETES_CA_FILE"] = CA_FILE if _ca_source(endpoint) else None
        values["AZURE_KUBERNETES_CA_DATA"] = endpoint.ca.pem if isinstance(endpoint.ca, InlineCA) else None
    return _variables(values)


def _variables(values: Mapping[str, str | None]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items() if value]


def _header(pod: Pod) -> str:
    """Return the header that clients of App Service's protocol send, from the sidecar if it is already there.

    It protects nothing: the sidecar listens on the pod's own loopback and accepts the metadata service's protocol
    without it. Clients just need one. So it may be the same every time; a random one would differ on reinvocation.
    """
    for variable in pod.named.get(SIDECAR, Container()).env or ():
        if variable.name == "IDENTITY_HEADER" and type(variable.value) is str and variable.value:
            return variable.value
    return sha256(f"identity header of {pod.name}".encode()).hexdigest()[:32]


def _mount(volume: str, path: str) -> Object:
    return {"name": volume, "mountPath": path, "readOnly": True}


def _volume(pod: Pod, request: IdentityRequest, policy: Policy) -> Object:
    endpoint = request.endpoint
    token = {
        "path": TOKEN_PATH,
        "audience": policy.audience if endpoint is None else endpoint.audience,
        "expirationSeconds": request.expiration,
    }
    sources: list[Object] = [{"serviceAccountToken": token}]
    authorities = None if endpoint is None else _ca_source(endpoint)
    if authorities is not None:
        sources.append(authorities)
    return {"name": _volume_name(pod, VOLUME_PREFIX), "projected": {"sources": sources}}


def _ca_source(endpoint: CustomTokenEndpoint) -> Object | None:
    """Return the source of the endpoint's CA in the volume, if it is not in a variable. Raise RetryError."""
    match endpoint.ca:
        case ConfigMapCA(name):
            items = [{"key": "ca.crt", "path": CA_PATH}]
            return {"configMap": {"name": name, "items": items, "optional": False}}
        case TrustBundleCA(signer_name, labels, requirements):
            # An empty selector selects every bundle of the signer, a missing one none.
            selector: Object = {"matchLabels": dict(labels)} if labels else {}
            if requirements:
                selector["matchExpressions"] = [
                    {
                        "key": requirement.key,
                        "operator": requirement.operator,
                        **({"values": list(requirement.values)} if requirement.values else {}),
                    }
                    for requirement in requirements
                ]
            bundle = {"signerName": signer_name, "labelSelector": selector, "path": CA_PATH, "optional": False}
            return {"clusterTrustBundle": bundle}
        case UnknownCA(file):
            raise RetryError(
                f"the CA of the custom token endpoint is not known yet: the webhook finds no certificate in {file}",
                hint="try again in two minutes; if that does not help, check that the endpoint (wisp gateway) runs, "
                "that its Secret has ca.crt, and that the webhook mounts it",
            )
        case InlineCA() | None:
            return None
        case _:
            assert_never(endpoint.ca)


def _volume_name(pod: Pod, prefix: str) -> str:
    """Return a volume name derived from the pod's name, or that of the volume that an earlier mutation added.

    The pod may have had another name then: its manifest may be copied from another pod, or be a template's.
    """
    name = prefix + sha256(pod.name.encode()).hexdigest()[:_HASH_LENGTH]
    present = [volume.name for volume in pod.volumes if volume.name is not None and volume.name.startswith(prefix)]
    return name if name in present or not present else present[0]


# Our containers. Both satisfy Pod Security `baseline` except for the redirect's NET_ADMIN; the sidecar alone satisfies
# `restricted`.

_CONTEXT: Object = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_SIDECAR_CONTEXT: Object = {
    **_CONTEXT,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": SIDECAR_UID,
    "runAsGroup": SIDECAR_UID,
}
_REDIRECT_CONTEXT: Object = {
    **_CONTEXT,
    "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
    # Runtimes give added capabilities to root only; a pod's own runAsNonRoot would forbid it.
    "runAsNonRoot": False,
    "runAsUser": 0,
    "runAsGroup": 0,
}
_TERMINATION: Object = {"terminationMessagePolicy": "FallbackToLogsOnError"}
"""The error of a container that cannot start is in the pod's status, where `kubectl describe` shows it."""


def plan_containers(
    pod: Pod, request: IdentityRequest, policy: Policy, injection: Injection
) -> Iterator[tuple[str, list[Container], Builders]]:
    """Yield each list of containers that ours belong in: its key in the spec, its present containers, and ours.

    Ours come first, the redirect before the sidecar, so that no container of the pod, init containers included,
    reaches the node's metadata service.
    """
    sidecar = request.sidecar
    if sidecar is None:
        return
    is_guaranteed = _is_guaranteed([*pod.own, *pod.own_init])

    def redirect() -> Object:
        return _redirect(sidecar, policy, is_guaranteed=is_guaranteed)

    def proxy() -> Object:
        container = _proxy(sidecar, policy, is_guaranteed=is_guaranteed)
        if SIDECAR in request.skipped:
            return container
        return {**container, "env": injection.sidecar, "volumeMounts": injection.sidecar_mounts}

    before = {REDIRECT: redirect} if sidecar.mode is Mode.REDIRECT else {}
    if is_native(pod, policy):
        yield "initContainers", pod.init_containers, {**before, SIDECAR: proxy}
    else:
        if before:
            yield "initContainers", pod.init_containers, before
        yield "containers", pod.containers, {SIDECAR: proxy}


def is_native(pod: Pod, policy: Policy) -> bool:
    """Check whether the sidecar is among the init containers: where it already is, or as the policy says."""
    present = pod.named.get(SIDECAR)
    return policy.native if present is None else any(container is present for container in pod.init_containers)


def _redirect(sidecar: SidecarRequest, policy: Policy, *, is_guaranteed: bool) -> Object:
    """Return the init container that installs the redirect. It gets neither the token nor the Azure variables."""
    return {
        "name": REDIRECT,
        "image": policy.redirect_image,
        "imagePullPolicy": policy.image_pull_policy,
        "args": ["redirect", "up", f"--proxy-port={sidecar.port}"],
        **_resources(sidecar.redirect_resources, is_guaranteed=is_guaranteed),
        **_TERMINATION,
        "securityContext": _REDIRECT_CONTEXT,
    }


def _proxy(sidecar: SidecarRequest, policy: Policy, *, is_guaranteed: bool) -> Object:
    """Return the sidecar's container, without what every container gets.

    The postStart hook keeps the next containers from starting until the sidecar answers: a native sidecar counts as
    started, and kubelet continues with the next init container, when the hook has ended (ContainerStatus.started). A
    startup probe would report the same a second or two later.
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
        **_resources(sidecar.resources, is_guaranteed=is_guaranteed),
        "lifecycle": {"postStart": {"exec": {"command": ["/proxy", flags[0], "--probe", flags[1]]}}},
        **_TERMINATION,
        "securityContext": _SIDECAR_CONTEXT,
    }
    if policy.native:
        container["restartPolicy"] = "Always"
    return container


@lru_cache(maxsize=64)
def _resources(resources: Resources, *, is_guaranteed: bool) -> Object:
    """Return the member `resources` if anything is set; for a guaranteed pod, requests equal the limits."""
    requests = {"cpu": resources.cpu_request, "memory": resources.memory_request}
    limits = {"cpu": resources.cpu_limit, "memory": resources.memory_limit}
    if is_guaranteed and None not in limits.values():
        requests = limits
    amounts = {
        kind: {name: value for name, value in values.items() if value is not None}
        for kind, values in (("requests", requests), ("limits", limits))
    }
    return {"resources": {kind: values for kind, values in amounts.items() if values}} if any(amounts.values()) else {}


def _is_guaranteed(containers: list[Container]) -> bool:
    """Check whether these containers make the pod's quality of service Guaranteed, which ours must keep."""
    for container in containers:
        resources = container.resources or Requirements()
        limits, requests = resources.limits or Amounts(), resources.requests or Amounts()
        for limit, request in ((limits.cpu, requests.cpu), (limits.memory, requests.memory)):
            if limit is None or request not in (None, limit):
                return False
    return bool(containers)
