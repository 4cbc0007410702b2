"""Do with the management SDKs what the walk-through does with az; with options from standard input, as JSON.

Prints one line of JSON: the results of the SDKs.
"""

import importlib
import json
import sys
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential

# They have no types.
aks: Any = importlib.import_module("azure.mgmt.containerservice.models")
msi: Any = importlib.import_module("azure.mgmt.msi.models")
_CLIENTS = (
    ("azure.mgmt.resource", "ResourceManagementClient"),
    ("azure.mgmt.msi", "ManagedServiceIdentityClient"),
    ("azure.mgmt.containerservice", "ContainerServiceClient"),
)
GROUP, CLUSTER, IDENTITY = "sdk-RG", "sdk-cluster", "sdk-identity"


def clients(options: dict[str, str]) -> tuple[Any, Any, Any]:
    """Return the three clients, which trust the cloud's CA alone."""
    credential = ClientSecretCredential(
        options["tenant"],
        options["client_id"],
        options["secret"],
        authority=options["url"],
        disable_instance_discovery=True,
        connection_verify=options["ca_file"],
    )
    common = {
        "base_url": options["url"],
        "credential_scopes": ["https://management.azure.com/.default"],
        "connection_verify": options["ca_file"],
    }
    kinds = [getattr(importlib.import_module(module), name) for module, name in _CLIENTS]
    created = [kind(credential, options["subscription"], **common) for kind in kinds]
    return created[0], created[1], created[2]


def cluster_request() -> Any:
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


def run(options: dict[str, str]) -> dict[str, Any]:
    """Create, read, change and delete every kind of resource."""
    resources, identities, containers = clients(options)
    group = resources.resource_groups.create_or_update(GROUP, {"location": "eastus", "tags": {"a": "b"}})
    cluster = containers.managed_clusters.begin_create_or_update(GROUP, CLUSTER, cluster_request()).result()
    issuer = cluster.oidc_issuer_profile.issuer_url
    identity = identities.user_assigned_identities.create_or_update(GROUP, IDENTITY, msi.Identity(location="eastus"))
    tagged = identities.user_assigned_identities.update(GROUP, IDENTITY, msi.IdentityUpdate(tags={"c": "d"}))
    federated = identities.federated_identity_credentials

    def federate(name: str, subject: str) -> Any:
        credential = msi.FederatedIdentityCredential(
            issuer=issuer, subject=subject, audiences=["api://AzureADTokenExchange"]
        )
        return federated.create_or_update(GROUP, IDENTITY, name, credential)

    for number in range(20):
        federate(f"fic-{number}", f"system:serviceaccount:default:app-{number}")
    pages = list(federated.list(GROUP, IDENTITY, top=7).by_page())
    results = {
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
    results["by subscription"] = [each.name for each in identities.user_assigned_identities.list_by_subscription()]
    results["clusters"] = [each.name for each in containers.managed_clusters.list_by_resource_group(GROUP)]
    containers.managed_clusters.begin_update_tags(GROUP, CLUSTER, {"tags": {"e": "f"}}).result()
    results["tags"] = containers.managed_clusters.get(GROUP, CLUSTER).tags
    containers.managed_clusters.begin_delete(GROUP, CLUSTER).result()
    results["deleted"] = refusal(containers.managed_clusters.get, GROUP, CLUSTER)
    resources.resource_groups.begin_delete(GROUP).result()
    results["gone"] = resources.resource_groups.check_existence(GROUP)
    return results


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))  # noqa: T201 -- it is a program
