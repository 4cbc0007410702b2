"""Write resources as Resource Manager shows them; knows no store and no HTTP."""

from collections.abc import Mapping

from wisp_local.cloud.entra.directory import FederatedCredential, ManagedIdentity, ResourceGroup, Subscription, Tenant

Document = Mapping[str, object]
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
CREDENTIAL = f"{IDENTITY}/federatedIdentityCredentials"


def tenant(found: Tenant) -> Document:
    """Write a tenant, as `az account tenant list` reads it."""
    return {
        "id": f"/tenants/{found.id}",
        "tenantId": found.id,
        "displayName": found.display_name,
        "defaultDomain": "wisp.local",
        "tenantCategory": "Home",
        "tenantType": "AAD",
    }


def subscription(found: Subscription) -> Document:
    """Write a subscription."""
    return {
        "id": f"/subscriptions/{found.id}",
        "subscriptionId": found.id,
        "tenantId": found.tenant_id,
        "displayName": found.display_name,
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def group(found: ResourceGroup) -> Document:
    """Write a resource group."""
    return {
        "id": found.resource_id,
        "name": found.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": found.location,
        "tags": dict(found.tags),
        "properties": {"provisioningState": "Succeeded"},
    }


def identity(found: ManagedIdentity) -> Document:
    """Write a user-assigned identity; its id has `resourcegroups` in lower case, as Azure's has."""
    return {
        "id": found.resource_id,
        "name": found.name,
        "type": IDENTITY,
        "location": found.location,
        "tags": dict(found.tags),
        "properties": {
            "tenantId": found.tenant_id,
            "principalId": found.principal_id,
            "clientId": found.client_id,
            "isolationScope": "None",
        },
    }


def credential(owner: ManagedIdentity, found: FederatedCredential) -> Document:
    """Write a federated credential of `owner`."""
    return {
        "id": f"{owner.resource_id}/federatedIdentityCredentials/{found.name}",
        "name": found.name,
        "type": CREDENTIAL,
        "properties": {"issuer": found.issuer, "subject": found.subject, "audiences": list(found.audiences)},
    }
