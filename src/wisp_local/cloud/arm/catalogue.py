"""What is there before anything is made: tenant, subscription, regions and resource providers, all registered."""

from wisp_local.cloud.arm import rendering
from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.arm.problem import ResourceError

_REGIONS = {
    "eastus": ("East US", "US"),
    "eastus2": ("East US 2", "US"),
    "centralus": ("Central US", "US"),
    "northcentralus": ("North Central US", "US"),
    "southcentralus": ("South Central US", "US"),
    "westcentralus": ("West Central US", "US"),
    "westus": ("West US", "US"),
    "westus2": ("West US 2", "US"),
    "westus3": ("West US 3", "US"),
    "canadacentral": ("Canada Central", "Canada"),
    "brazilsouth": ("Brazil South", "South America"),
    "northeurope": ("North Europe", "Europe"),
    "westeurope": ("West Europe", "Europe"),
    "uksouth": ("UK South", "UK"),
    "francecentral": ("France Central", "Europe"),
    "germanywestcentral": ("Germany West Central", "Europe"),
    "swedencentral": ("Sweden Central", "Europe"),
    "switzerlandnorth": ("Switzerland North", "Europe"),
    "southafricanorth": ("South Africa North", "Africa"),
    "uaenorth": ("UAE North", "Middle East"),
    "centralindia": ("Central India", "Asia Pacific"),
    "southeastasia": ("Southeast Asia", "Asia Pacific"),
    "japaneast": ("Japan East", "Asia Pacific"),
    "koreacentral": ("Korea Central", "Asia Pacific"),
    "australiaeast": ("Australia East", "Asia Pacific"),
}
_PROVIDERS = {
    "Microsoft.Authorization": ("roleAssignments", "roleDefinitions"),
    "Microsoft.ContainerService": ("managedClusters", "locations/operations"),
    "Microsoft.ManagedIdentity": ("userAssignedIdentities", "userAssignedIdentities/federatedIdentityCredentials"),
    "Microsoft.Resources": ("resourceGroups", "subscriptions", "tenants"),
}
_VERSIONS = ["2024-11-01"]


def _tenants(call: Call) -> Reply:
    return call.page([rendering.tenant(call.store.tenant())])


def _subscriptions(call: Call) -> Reply:
    return call.page([rendering.subscription(call.store.subscription())])


def _subscription(call: Call) -> Reply:
    return Reply(200, rendering.subscription(call.store.subscription()))


def _locations(call: Call) -> Reply:
    root = f"/subscriptions/{call.names['subscription']}/locations"
    regions = [_region(root, name, *about) for name, about in _REGIONS.items()]
    return Reply(200, {"value": regions})


def _region(root: str, name: str, shown: str, geography: str) -> dict[str, object]:
    return {
        "id": f"{root}/{name}",
        "name": name,
        "type": "Region",
        "displayName": shown,
        "regionalDisplayName": f"({geography}) {shown}",
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": geography},
    }


def _providers(call: Call) -> Reply:
    return Reply(200, {"value": [_provider(call, each) for each in _PROVIDERS]})


def _show_provider(call: Call) -> Reply:
    """Answer for a provider; registering one, which all are, has the same answer."""
    wanted = call.names["namespace"].lower()
    for each in _PROVIDERS:
        if each.lower() == wanted:
            return Reply(200, _provider(call, each))
    message = f"The resource namespace '{call.names['namespace']:.100}' is invalid."
    raise ResourceError(404, "InvalidResourceNamespace", message)


def _provider(call: Call, namespace: str) -> dict[str, object]:
    locations = [shown for shown, _ in _REGIONS.values()]
    types = [
        {"resourceType": each, "locations": locations, "apiVersions": _VERSIONS, "capabilities": "None"}
        for each in _PROVIDERS[namespace]
    ]
    return {
        "id": f"/subscriptions/{call.store.subscription().id}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": "Registered",
        "resourceTypes": types,
    }


def _operations(call: Call) -> Reply:  # noqa: ARG001 -- a handler's signature
    names = [f"{namespace}/{kind}" for namespace, kinds in _PROVIDERS.items() for kind in kinds]
    described = [
        {"name": f"{name}/{verb}", "isDataAction": False, "display": {"operation": verb, "resource": name}}
        for name in names
        for verb in ("read", "write", "delete")
    ]
    return Reply(200, {"value": described})


_PROVIDER = "/subscriptions/{subscription}/providers/{namespace}"
ROUTES = {
    "GET /tenants": _tenants,
    "GET /subscriptions": _subscriptions,
    "GET /subscriptions/{subscription}": _subscription,
    "GET /subscriptions/{subscription}/locations": _locations,
    "GET /subscriptions/{subscription}/providers": _providers,
    f"GET {_PROVIDER}": _show_provider,
    f"POST {_PROVIDER}/register": _show_provider,
    "GET /providers/{namespace}/operations": _operations,
}
