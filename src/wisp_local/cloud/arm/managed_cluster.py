"""The JSON document of a managed cluster: what clients may request, and what the answer shows.

The answer repeats what was requested, with what AKS would add (https://learn.microsoft.com/rest/api/aks/managed-clusters).
The issuer is `issuerURL` on the wire, although `az` shows `issuerUrl`; in the wrong case SDKs read nothing.
"""

import json
from collections.abc import Mapping
from importlib.resources import files

from wisp_local.cloud.arm import problem
from wisp_local.cloud.arm.reading import object_field
from wisp_local.cloud.cluster import ManagedCluster

KIND = "Microsoft.ContainerService/managedClusters"
_DEFAULTS = json.loads(files(__package__).joinpath("managed_cluster.json").read_text())  # what AKS chooses
_TOP = ("identity", "sku", "tags", "zones", "extendedLocation")  # stored with the properties
_SECRET = {"servicePrincipalProfile": "secret", "windowsProfile": "adminPassword"}  # never stored
_COMPUTED = ("provisioningState", "powerState", "fqdn", "azurePortalFQDN", "currentKubernetesVersion")


def merged(old: Mapping[str, object], new: Mapping[str, object]) -> Mapping[str, object]:
    """Return `old` changed by `new` as a JSON merge patch (RFC 7396)."""
    result = dict(old)
    for name, value in new.items():
        before = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result


def requested(body: Mapping[str, object]) -> Mapping[str, object]:
    """Return the part of a body that is stored: without passwords, and without what only AKS decides."""
    properties = {name: value for name, value in object_field(body, "properties").items() if name not in _COMPUTED}
    for profile_name, secret in _SECRET.items():
        if isinstance(profile := properties.get(profile_name), dict):
            properties[profile_name] = {name: value for name, value in profile.items() if name != secret}
    if isinstance(issuer := properties.get("oidcIssuerProfile"), dict):
        properties["oidcIssuerProfile"] = {name: value for name, value in issuer.items() if name == "enabled"}
    pools = properties.get("agentPoolProfiles")
    if pools is not None and not (isinstance(pools, list) and all(isinstance(pool, dict) for pool in pools)):
        raise problem.invalid_content("'agentPoolProfiles' is not a list of objects")
    return {**{name: body[name] for name in _TOP if body.get(name) is not None}, "properties": properties}


def check(new: Mapping[str, object], old: Mapping[str, object] | None) -> None:
    """Raise `ResourceError` for what AKS rejects: disabling the issuer, workload identity without an issuer."""
    if old is not None and has_issuer(old) and not has_issuer(new):
        message = "OIDC issuer feature cannot be disabled."
        raise problem.ResourceError(400, "OIDCIssuerFeatureCannotBeDisabled", message)
    security = object_field(object_field(new, "properties"), "securityProfile")
    if object_field(security, "workloadIdentity").get("enabled") is True and not has_issuer(new):
        raise problem.bad_request("Workload identity needs the OIDC issuer: enable oidcIssuerProfile, too.")


def has_issuer(cluster: Mapping[str, object]) -> bool:
    """Tell whether the OIDC issuer is enabled in what was requested."""
    return object_field(object_field(cluster, "properties"), "oidcIssuerProfile").get("enabled") is True


def document(cluster: ManagedCluster, *, issuer_url: str, tenant_id: str, now: float) -> Mapping[str, object]:
    """Write the cluster; `issuer_url` is empty while it has no issuer."""
    state = cluster.provisioning_state(now)
    node_group = f"MC_{cluster.resource_group}_{cluster.name}_{cluster.location}"
    properties = _without_empty(object_field(cluster.requested, "properties"))
    pools = properties.get("agentPoolProfiles")
    requested_pools = pools if isinstance(pools, list) and pools else [{"name": "nodepool1"}]
    dns = f"{cluster.name[:20]}-{cluster.principal_id[:8]}".lower().replace("_", "-")
    defaults = {
        **_DEFAULTS["properties"],
        "dnsPrefix": dns,
        "fqdn": f"{dns}.hcp.{cluster.location}.azmk8s.io",
        "azurePortalFQDN": f"{dns}.portal.hcp.{cluster.location}.azmk8s.io",
        "nodeResourceGroup": node_group,
    }
    identity = {"type": "SystemAssigned", **object_field(cluster.requested, "identity")}
    if identity["type"] == "SystemAssigned":
        identity |= {"principalId": cluster.principal_id, "tenantId": tenant_id}
    return {
        "id": cluster.resource_id,
        "name": cluster.name,
        "type": KIND,
        "location": cluster.location,
        "tags": cluster.requested.get("tags"),
        "identity": identity,
        "sku": cluster.requested.get("sku", {"name": "Base", "tier": "Free"}),
        "properties": {
            **merged(defaults, properties),
            "agentPoolProfiles": [
                {**_DEFAULTS["agentPool"], **_without_empty(pool), "provisioningState": state}
                for pool in requested_pools
            ],
            "identityProfile": {"kubeletidentity": _kubelet_identity(cluster, node_group)},
            "oidcIssuerProfile": {"enabled": True, "issuerURL": issuer_url} if issuer_url else {"enabled": False},
            "provisioningState": state,
        },
    }


def _without_empty(properties: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out null and empty strings, with which `az` asks for the default of AKS."""
    return {
        name: _without_empty(value) if isinstance(value, dict) else value
        for name, value in properties.items()
        if value is not None and value != ""
    }


def _kubelet_identity(cluster: ManagedCluster, node_group: str) -> Mapping[str, object]:
    """Return the nodes' identity, without which `az aks update` fails."""
    identity = f"providers/Microsoft.ManagedIdentity/userAssignedIdentities/{cluster.name}-agentpool"
    return {
        "resourceId": f"/subscriptions/{cluster.subscription_id}/resourcegroups/{node_group}/{identity}",
        "clientId": cluster.kubelet_client_id,
        "objectId": cluster.kubelet_object_id,
    }
