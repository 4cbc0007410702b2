"""What every cloud has from the start: its endpoints, tenant, subscription, regions and resource providers."""

import csv
from collections.abc import Mapping
from importlib.resources import files

from wisp_local.cloud.arm.handler import Call, Reply
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.entra.audiences import PUBLIC, RESOURCE_MANAGER, AzureCloud, services

_REGIONS = tuple(csv.DictReader(files(__package__).joinpath("regions.csv").read_text().splitlines()))
_PROVIDERS = {
    "Microsoft.Authorization": ("roleAssignments", "roleDefinitions"),
    "Microsoft.ContainerService": ("managedClusters", "managedClusters/identityBindings", "locations/operations"),
    "Microsoft.ManagedIdentity": ("userAssignedIdentities", "userAssignedIdentities/federatedIdentityCredentials"),
    "Microsoft.Resources": ("resourceGroups", "subscriptions", "tenants"),
}


def endpoints(base: str, tenant_id: str, cloud: AzureCloud = PUBLIC) -> Mapping[str, object]:
    """Return the answer to `GET /metadata/endpoints?api-version=2022-09-01` for the cloud at `base`.

    `az cloud register --endpoint-resource-manager` reads all other addresses from it.
    """
    return {
        "name": "WispLocal",
        "resourceManager": f"{base}/",
        "portal": f"{base}/",
        "gallery": f"{base}/",
        "graph": f"{base}/",
        "graphAudience": f"{base}/",
        "microsoftGraphResourceId": f"{base}/",
        "activeDirectoryDataLake": f"{base}/",
        "authentication": {
            "loginEndpoint": f"{base}/",
            "audiences": [f"{uri}/" for uri in reversed(services()[RESOURCE_MANAGER].names[cloud].uris)],
            "tenant": tenant_id,
            "identityProvider": "AAD",
        },
        "suffixes": {},
    }


def _list_tenants(call: Call) -> Reply:
    tenant = call.store.tenant()
    document = {
        "id": f"/tenants/{tenant.id}",
        "tenantId": tenant.id,
        "displayName": tenant.display_name,
        "defaultDomain": "wisp.local",
        "tenantCategory": "Home",
        "tenantType": "AAD",
    }
    return call.page([document])


def _subscription(call: Call) -> dict[str, object]:
    subscription = call.store.subscription()
    return {
        "id": f"/subscriptions/{subscription.id}",
        "subscriptionId": subscription.id,
        "tenantId": subscription.tenant_id,
        "displayName": subscription.display_name,
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def _list_locations(call: Call) -> Reply:
    regions = [
        {
            "id": f"/subscriptions/{call.names['subscription']}/locations/{region['name']}",
            "name": region["name"],
            "type": "Region",
            "displayName": region["display_name"],
            "regionalDisplayName": f"({region['geography']}) {region['display_name']}",
            "metadata": {
                "regionType": "Physical",
                "regionCategory": "Recommended",
                "geographyGroup": region["geography"],
            },
        }
        for region in _REGIONS
    ]
    return Reply(200, {"value": regions})


def _show_provider(call: Call) -> Reply:
    """Answer a GET, and a request to register a provider: all are registered."""
    for namespace in _PROVIDERS:
        if namespace.lower() == call.names["namespace"].lower():
            return Reply(200, _provider(call, namespace))
    message = f"The resource namespace '{call.names['namespace']:.100}' is invalid."
    raise ResourceError(404, "InvalidResourceNamespace", message)


def _provider(call: Call, namespace: str) -> dict[str, object]:
    common = {
        "locations": [region["display_name"] for region in _REGIONS],
        "apiVersions": ["2024-11-01"],
        "capabilities": "None",
    }
    return {
        "id": f"/subscriptions/{call.store.subscription().id}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": "Registered",
        "resourceTypes": [{"resourceType": kind, **common} for kind in _PROVIDERS[namespace]],
    }


def _list_operations(call: Call) -> Reply:  # noqa: ARG001 -- a handler's signature
    operations = [
        {
            "name": f"{namespace}/{kind}/{verb}",
            "isDataAction": False,
            "display": {"operation": verb, "resource": f"{namespace}/{kind}"},
        }
        for namespace, kinds in _PROVIDERS.items()
        for kind in kinds
        for verb in ("read", "write", "delete")
    ]
    return Reply(200, {"value": operations})


_PROVIDER = "/subscriptions/{subscription}/providers/{namespace}"
ROUTES = {
    "GET /tenants": _list_tenants,
    "GET /subscriptions": lambda call: call.page([_subscription(call)]),
    "GET /subscriptions/{subscription}": lambda call: Reply(200, _subscription(call)),
    "GET /subscriptions/{subscription}/locations": _list_locations,
    "GET /subscriptions/{subscription}/providers": lambda call: Reply(
        200, {"value": [_provider(call, namespace) for namespace in _PROVIDERS]}
    ),
    f"GET {_PROVIDER}": _show_provider,
    f"POST {_PROVIDER}/register": _show_provider,
    "GET /providers/{namespace}/operations": _list_operations,
}
