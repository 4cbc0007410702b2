"""Where everything of this cloud is, as `az cloud register --endpoint-resource-manager` wants to be told."""

from collections.abc import Mapping

from wisp_local.cloud.entra.audiences import PUBLIC, RESOURCE_MANAGER, AzureCloud


def endpoints(base: str, tenant_id: str, cloud: AzureCloud = PUBLIC) -> Mapping[str, object]:
    """Return the document of `GET /metadata/endpoints?api-version=2022-09-01` for the cloud at `base`."""
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
            "audiences": [f"{each}/" for each in reversed(RESOURCE_MANAGER.names[cloud].uris)],
            "tenant": tenant_id,
            "identityProvider": "AAD",
        },
        "suffixes": {},
    }
