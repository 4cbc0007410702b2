"""What containers get so that they have the identity: variables, mounts and the volume. Knows no container.

Everything here is made once a pod and shared by its containers; nothing of it is ever altered.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from wisp.admission import names
from wisp.admission.contract import ConfigMapCA, InlineCA, Policy, Requirement, TokenEndpoint, TrustBundleCA
from wisp.admission.pod import Pod
from wisp.admission.shape import Container, Mount, Object
from wisp.admission.wanted import Mode, Sidecar, Wanted
from wisp.imds.answer import endpoint_variables
from wisp.imds.request import TOKEN_PATH

_HASHED = names.LONGEST_VOLUME_NAME - len(names.VOLUME_PREFIX)


class Share(NamedTuple):
    """What is put into a pod's containers and among its volumes. Variables are in the order in which they are put."""

    application: list[Object]
    """The variables of every container but ours."""
    sidecar: list[Object]
    """The variables of the sidecar."""
    application_mounts: list[Object]
    sidecar_mounts: list[Object]
    volumes: list[Object]
    withheld: list[Object]
    """The variables that the sidecar alone may have; empty where every container has the identity."""


def share_of(pod: Pod, wanted: Wanted, policy: Policy) -> Share:
    """Return what the containers of a pod get."""
    identity, sidecar = _identity(wanted, policy), wanted.sidecar
    volumes = [_volume(pod, wanted, policy)]
    mounts = [_mount(volumes[0]["name"], names.MOUNT_PATH)]
    is_alone = sidecar is not None and sidecar.has_identity_alone
    if policy.legacy_token_mount and not is_alone:  # the sidecar has no use for the token's old place
        volumes.append(_legacy_volume(pod, volumes[0]))
        mounts.append(_mount(volumes[1]["name"], names.LEGACY_MOUNT_PATH))
    places: list[Object] = []
    own = _variables({"WISP_AUTHORITY_CA_DATA": policy.authority_ca}) if sidecar else []
    if sidecar is not None and sidecar.mode is Mode.ENV:
        header = _header(pod)
        places = _told(sidecar, header)
        own += _variables({"IDENTITY_HEADER": header})
    if is_alone:
        return Share(places, identity + own, [], mounts, volumes, identity)
    return Share(identity + places, identity + own, mounts, mounts, volumes, [])


def is_token_mount(mount: Mount) -> bool:
    """Say whether a mount is of a volume that has the token by this, or an earlier, mutation."""
    return (mount.name or "").startswith((names.VOLUME_PREFIX, names.LEGACY_VOLUME_PREFIX))


def _identity(wanted: Wanted, policy: Policy) -> list[Object]:
    values: dict[str, str | None] = {
        "AZURE_CLIENT_ID": wanted.client_id,
        "AZURE_TENANT_ID": wanted.tenant,
        names.TOKEN_FILE_VARIABLE: names.TOKEN_FILE,
        "AZURE_AUTHORITY_HOST": policy.authority_host,
    }
    endpoint = wanted.endpoint
    if endpoint is not None:
        values["AZURE_KUBERNETES_TOKEN_PROXY"] = endpoint.url
        values["AZURE_KUBERNETES_SNI_NAME"] = endpoint.sni_name
        values["AZURE_KUBERNETES_CA_FILE"] = names.CA_FILE if _ca_source(endpoint) else None
        values["AZURE_KUBERNETES_CA_DATA"] = endpoint.ca.pem if isinstance(endpoint.ca, InlineCA) else None
    return _variables(values)


def _variables(values: Mapping[str, str | None]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items() if value]


def _told(sidecar: Sidecar, header: str) -> list[Object]:
    """Return the variables that every SDK reads some of, and that of the metadata service's address."""
    here = f"http://127.0.0.1:{sidecar.port}"
    return _variables({**endpoint_variables(here + TOKEN_PATH, header), "AZURE_POD_IDENTITY_AUTHORITY_HOST": here})


def _header(pod: Pod) -> str:
    """Return what clients of App Service's dialect show, the sidecar's where it is there already.

    It guards nothing: the sidecar listens on the pod's own loopback and takes the metadata service's dialect without
    it. Clients just want one. So it may be the same every time, which a random one would not be.
    """
    for variable in pod.named.get(names.SIDECAR, Container()).env or ():
        if variable.name == "IDENTITY_HEADER" and type(variable.value) is str and variable.value:
            return variable.value
    return sha256(f"identity header of {pod.name}".encode()).hexdigest()[:32]


def _mount(volume: str, path: str) -> Object:
    return {"name": volume, "mountPath": path, "readOnly": True}


def _volume(pod: Pod, wanted: Wanted, policy: Policy) -> Object:
    endpoint = wanted.endpoint
    token = {
        "path": names.TOKEN_PATH,
        "audience": policy.audience if endpoint is None else endpoint.audience,
        "expirationSeconds": wanted.expiration,
    }
    sources: list[Object] = [{"serviceAccountToken": token}]
    authorities = None if endpoint is None else _ca_source(endpoint)
    if authorities is not None:
        sources.append(authorities)
    return {"name": _volume_name(pod, names.VOLUME_PREFIX), "projected": {"sources": sources}}


def _legacy_volume(pod: Pod, volume: Object) -> Object:
    """Return the same token under its old name; a subPath of the one volume would never be renewed."""
    token = {**volume["projected"]["sources"][0]["serviceAccountToken"], "path": names.LEGACY_TOKEN_PATH}
    return {
        "name": _volume_name(pod, names.LEGACY_VOLUME_PREFIX),
        "projected": {"sources": [{"serviceAccountToken": token}]},
    }


def _ca_source(endpoint: TokenEndpoint) -> Object | None:
    match endpoint.ca:
        case ConfigMapCA(name):
            items = [{"key": names.CA_KEY, "path": names.CA_PATH}]
            return {"configMap": {"name": name, "items": items, "optional": False}}
        case TrustBundleCA(signer_name, labels, requirements):
            # An empty selector means every bundle of the signer's, a missing one means none.
            selector: Object = {"matchLabels": dict(labels)} if labels else {}
            if requirements:
                selector["matchExpressions"] = [_expression(each) for each in requirements]
            bundle = {"signerName": signer_name, "labelSelector": selector, "path": names.CA_PATH, "optional": False}
            return {"clusterTrustBundle": bundle}
        case _:
            return None


def _expression(requirement: Requirement) -> Object:
    values = {"values": list(requirement.values)} if requirement.values else {}
    return {"key": requirement.key, "operator": requirement.operator, **values}


def _volume_name(pod: Pod, prefix: str) -> str:
    """Return the volume's name: after the pod's, unless one is there from when the pod was called something else.

    That is how a manifest is that was mutated before: copied from another pod, or a template's.
    """
    usual = prefix + sha256(pod.name.encode()).hexdigest()[:_HASHED]
    there = [each.name for each in pod.volumes if each.name is not None and each.name.startswith(prefix)]
    return usual if usual in there or not there else there[0]
