"""Decides which variables tell a workload where to ask, in place of interception. Pure.

Sources: the variables that the Azure SDKs read to find a managed identity (App Service's, in both of its versions).
"""


def told(endpoint: str, header: str) -> dict[str, str]:
    """Return the variables of App Service, today's and yesterday's: every SDK knows one of the two."""
    return {
        "IDENTITY_ENDPOINT": endpoint,
        "IDENTITY_HEADER": header,
        "MSI_ENDPOINT": endpoint,
        "MSI_SECRET": header,
    }
