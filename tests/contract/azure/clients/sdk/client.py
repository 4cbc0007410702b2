"""Do with the management SDKs what the walk-through does with az; told what it needs on standard input, as JSON.

Prints one line of JSON: what the SDKs made of the answers.
"""

import importlib
import json
import sys
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential

# They have no types: what they give is looked at as it is.
aks: Any = importlib.import_module("azure.mgmt.containerservice.models")
msi: Any = importlib.import_module("azure.mgmt.msi.models")
_CLIENTS = (
    ("azure.mgmt.resource", "ResourceManagementClient"),
    ("azure.mgmt.msi", "ManagedServiceIdentityClient"),
    ("azure.mgmt.containerservice", "ContainerServiceClient"),
)
GROUP, CLUSTER, IDENTITY = "sdk-RG", "sdk-cluster", "sdk-identity"


def clients(told: dict[str, str]) -> tuple[Any, Any, Any]:
    """Return the three clients, which trust the cloud's CA alone."""
    credential = ClientSecretCredential(
        told["tenant"],
        told["client_id"],
        told["secret"],
        authority=told["url"],
        disable_instance_discovery=True,
        connection_verify=told["ca_file"],
    )
    common = {
        "base_url": told["url"],
        "credential_scopes": ["https://management.azure.com/.default"],
        "connection_verify": told["ca_file"],
    }
    kinds = [getattr(importlib.import_module(module), name) for module, name in _CLIENTS]
    made = [kind(credential, told["subscription"], **common) for kind in kinds]
    return made[0], made[1], made[2]


def cluster_wanted() -> Any:
    """Return a cluster with an issuer and workload identity."""
    return aks.ManagedCluster(
        location="eastus",
        dns_prefix="sdk",
        identity=aks.ManagedClusterIdentity(type="SystemAssigned"),
        agent_pool_profiles=[aks.ManagedClusterAgentPoolProfile(name="pool", count=1, mode="System")],
        oidc_issuer_profile=aks.ManagedClusterOIDCIssuerProfile(enabled=True),
        security_profile=aks.ManagedClusterSecurityProfile(
            workload_identity=aks.ManagedClusterSecurityProfileWorkloadIdentity(enabled=True)
        ),
    )


def refusal(call: Any, *arguments: Any) -> list[Any]:
    """Return status and code of what `call` raises."""
    try:
        call(*arguments)
    except HttpResponseError as error:
        return [error.status_code, error.error.code if error.error else None]
    return []


def run(told: dict[str, str]) -> dict[str, Any]:
    """Make everything, look at it, change it, and delete it."""
    resources, identities, containers = clients(told)
    group = resources.resource_groups.create_or_update(GROUP, {"location": "eastus", "tags": {"a": "b"}})
    cluster = containers.managed_clusters.begin_create_or_update(GROUP, CLUSTER, cluster_wanted()).result()
    issuer = cluster.oidc_issuer_profile.issuer_url
    identity = identities.user_assigned_identities.create_or_update(GROUP, IDENTITY, msi.Identity(location="eastus"))
    tagged = identities.user_assigned_identities.update(GROUP, IDENTITY, msi.IdentityUpdate(tags={"c": "d"}))
    federated = identities.federated_identity_credentials

    def federate(name: str, subject: str) -> Any:
        wanted = msi.FederatedIdentityCredential(
            issuer=issuer, subject=subject, audiences=["api://AzureADTokenExchange"]
        )
        return federated.create_or_update(GROUP, IDENTITY, name, wanted)

    for number in range(20):
        federate(f"fic-{number}", f"system:serviceaccount:default:app-{number}")
    pages = list(federated.list(GROUP, IDENTITY, top=7).by_page())
    seen = {
        "group": [group.name, group.location, group.tags],
        "exists": resources.resource_groups.check_existence(GROUP),
        "state": cluster.provisioning_state,
        "issuer": issuer,
        "identity": [identity.name, identity.client_id, identity.tenant_id, tagged.tags],
        "pages": [len(list(page)) for page in pages],
        "too many": refusal(federate, "fic-20", "x"),
        "taken": refusal(federate, "fic-0", "system:serviceaccount:default:app-1"),
        "absent": refusal(identities.user_assigned_identities.get, GROUP, "none"),
        "credentials": refusal(containers.managed_clusters.list_cluster_user_credentials, GROUP, CLUSTER),
    }
    federated.delete(GROUP, IDENTITY, "fic-0")
    seen["by subscription"] = [each.name for each in identities.user_assigned_identities.list_by_subscription()]
    seen["clusters"] = [each.name for each in containers.managed_clusters.list_by_resource_group(GROUP)]
    containers.managed_clusters.begin_update_tags(GROUP, CLUSTER, {"tags": {"e": "f"}}).result()
    seen["tags"] = containers.managed_clusters.get(GROUP, CLUSTER).tags
    containers.managed_clusters.begin_delete(GROUP, CLUSTER).result()
    seen["deleted"] = refusal(containers.managed_clusters.get, GROUP, CLUSTER)
    resources.resource_groups.begin_delete(GROUP).result()
    seen["gone"] = resources.resource_groups.check_existence(GROUP)
    return seen


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))  # noqa: T201 -- it is a program
