"""A managed cluster on the wire: what its owner may ask, and how it is shown; knows no store and no clock.

What was asked is kept and given back, with what AKS would add. https://learn.microsoft.com/rest/api/aks/managed-clusters
Gotcha: the issuer is `issuerURL` on the wire, although `az` shows `issuerUrl`; in the wrong case SDKs read nothing.
"""

from collections.abc import Mapping

from wisp_local.cloud.arm import problem
from wisp_local.cloud.arm.reading import part
from wisp_local.cloud.cluster import ManagedCluster

KIND = "Microsoft.ContainerService/managedClusters"
_VERSION = "1.34"
_TOP = ("identity", "sku", "tags", "zones", "extendedLocation")  # kept besides the properties
_SECRET = {"servicePrincipalProfile": "secret", "windowsProfile": "adminPassword"}  # never kept
_POOL: Mapping[str, object] = {
    "count": 1,
    "vmSize": "Standard_DS2_v2",
    "osDiskSizeGB": 128,
    "osDiskType": "Managed",
    "maxPods": 250,
    "type": "VirtualMachineScaleSets",
    "mode": "System",
    "osType": "Linux",
    "osSKU": "Ubuntu",
    "enableAutoScaling": False,
    "powerState": {"code": "Running"},
    "provisioningState": "Succeeded",
}
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


def asked(body: Mapping[str, object]) -> Mapping[str, object]:
    """Return what of a body is kept; passwords and what only the service can say are not."""
    properties = {name: value for name, value in part(body, "properties").items() if name not in _COMPUTED}
    for profile, secret in _SECRET.items():
        if isinstance(kept := properties.get(profile), dict):
            properties[profile] = {name: value for name, value in kept.items() if name != secret}
    if isinstance(issuer := properties.get("oidcIssuerProfile"), dict):
        properties["oidcIssuerProfile"] = {name: value for name, value in issuer.items() if name == "enabled"}
    pools = properties.get("agentPoolProfiles")
    if pools is not None and not (isinstance(pools, list) and all(isinstance(each, dict) for each in pools)):
        raise problem.content_invalid("'agentPoolProfiles' is no list of objects")
    top = {name: body[name] for name in _TOP if body.get(name) is not None}
    return {**top, "properties": properties}


def check(wanted: Mapping[str, object], before: Mapping[str, object] | None) -> None:
    """Raise `ResourceError` for what AKS does not do: an issuer that ends, workload identity without an issuer."""
    if before is not None and has_issuer(before) and not has_issuer(wanted):
        message = "OIDC issuer feature cannot be disabled."
        raise problem.ResourceError(400, "OIDCIssuerFeatureCannotBeDisabled", message)
    if has_workload_identity(wanted) and not has_issuer(wanted):
        raise problem.bad_request("Workload identity needs the OIDC issuer: enable oidcIssuerProfile, too.")


def has_issuer(wanted: Mapping[str, object]) -> bool:
    """Tell whether the OIDC issuer is asked for."""
    return part(part(wanted, "properties"), "oidcIssuerProfile").get("enabled") is True


def has_workload_identity(wanted: Mapping[str, object]) -> bool:
    """Tell whether workload identity is asked for."""
    security = part(part(wanted, "properties"), "securityProfile")
    return part(security, "workloadIdentity").get("enabled") is True


def rendered(cluster: ManagedCluster, *, issuer_url: str, tenant_id: str, now: float) -> Mapping[str, object]:
    """Write the cluster; `issuer_url` is empty while it has no issuer."""
    properties = _said(part(cluster.requested, "properties"))
    identity = {"type": "SystemAssigned", **part(cluster.requested, "identity")}
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
            **merged(_defaults(cluster), properties),
            "agentPoolProfiles": _pools(properties, cluster.provisioning_state(now)),
            "identityProfile": {"kubeletidentity": _kubelet(cluster)},
            "oidcIssuerProfile": {"enabled": True, "issuerURL": issuer_url} if issuer_url else {"enabled": False},
            "provisioningState": cluster.provisioning_state(now),
        },
    }


def _defaults(cluster: ManagedCluster) -> Mapping[str, object]:
    """Return what AKS says of a cluster whose owner left it open."""
    dns = f"{cluster.name[:20]}-{cluster.principal_id[:8]}".lower().replace("_", "-")
    return {
        "kubernetesVersion": _VERSION,
        "currentKubernetesVersion": _VERSION,
        "dnsPrefix": dns,
        "fqdn": f"{dns}.hcp.{cluster.location}.azmk8s.io",
        "azurePortalFQDN": f"{dns}.portal.hcp.{cluster.location}.azmk8s.io",
        "enableRBAC": True,
        "maxAgentPools": 100,
        "nodeResourceGroup": f"MC_{cluster.resource_group}_{cluster.name}_{cluster.location}",
        "networkProfile": {"networkPlugin": "azure", "serviceCidr": "10.0.0.0/16", "dnsServiceIP": "10.0.0.10"},
        "servicePrincipalProfile": {"clientId": "msi"},
        "supportPlan": "KubernetesOfficial",
        "powerState": {"code": "Running"},
        "securityProfile": {},
        "storageProfile": {},
    }


def _pools(properties: Mapping[str, object], state: str) -> list[Mapping[str, object]]:
    pools = properties.get("agentPoolProfiles")
    wanted = pools if isinstance(pools, list) and pools else [{"name": "nodepool1"}]
    versions = {"orchestratorVersion": _VERSION, "currentOrchestratorVersion": _VERSION}
    return [{**_POOL, **versions, **_said(each), "provisioningState": state} for each in wanted]


def _said(document: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out what is null or an empty text, by which `az` asks for what AKS thinks best."""
    return {
        name: _said(value) if isinstance(value, dict) else value
        for name, value in document.items()
        if value is not None and value != ""
    }


def _kubelet(cluster: ManagedCluster) -> Mapping[str, object]:
    """Return the nodes' identity, without which `az aks update` fails."""
    group = f"MC_{cluster.resource_group}_{cluster.name}_{cluster.location}"
    identity = f"providers/Microsoft.ManagedIdentity/userAssignedIdentities/{cluster.name}-agentpool"
    return {
        "resourceId": f"/subscriptions/{cluster.subscription_id}/resourcegroups/{group}/{identity}",
        "clientId": cluster.kubelet_client_id,
        "objectId": cluster.kubelet_object_id,
    }
