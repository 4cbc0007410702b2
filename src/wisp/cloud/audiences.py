"""Which resources a tenant knows without being told: Azure's own services; knows nothing of any request.

A real tenant has a service principal for every resource that it can issue tokens for. Azure's are recognised by their
host; the user's own (`api://…`) are added to the state, as one registers them in a tenant.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

_DOMAINS = (
    "azure.com",
    "azure.net",
    "azure.us",
    "azure.cn",
    "azuresynapse.net",
    "azuredatabricks.net",
    "azurewebsites.net",
    "chinacloudapi.cn",
    "microsoft.com",
    "microsoftazure.de",
    "microsoftonline.com",
    "microsoftonline.us",
    "usgovcloudapi.net",
    "windows.net",
    "azurecr.io",
    "azmk8s.io",
)
_APPLICATIONS = (
    "00000003-0000-0000-c000-000000000000",  # Microsoft Graph
    "797f4846-ba00-4fd7-ba43-dac1f8f63013",  # Azure Resource Manager
    "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",  # Key Vault
    "e406a681-f3d4-42a8-90b6-c2b029497af1",  # Storage
    "022907d3-0f1b-48f7-badc-1ba6abab6d66",  # SQL Database
    "6dae42f8-4368-4678-94ff-3960e28e3630",  # AKS' server application
    "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d",  # Databricks
)


def is_known(audience: str, registered: Collection[str]) -> bool:
    """Tell whether a token can be issued for `audience`; `registered` are the tenant's own resources.

    A slash at the end makes no difference to who is meant (service principals are registered under both names).
    """
    plain = audience.rstrip("/").lower()
    return plain in {each.rstrip("/").lower() for each in registered} or plain in _APPLICATIONS or _is_azure(audience)


def _is_azure(audience: str) -> bool:
    try:
        parts = urlsplit(audience)
    except ValueError:
        return False
    host = parts.hostname or ""
    return parts.scheme == "https" and any(host == each or host.endswith(f".{each}") for each in _DOMAINS)
