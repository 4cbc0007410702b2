"""The command's environment: without the variables that would make an SDK choose another credential.

Everything else is passed on as it is. Sources: the variables that the credential chains of the Azure SDKs read
(azure-identity for Python, Node, Java; azidentity and its predecessor go-autorest; .NET's AppAuthentication).
"""

from collections.abc import Collection, Mapping

CREDENTIAL_VARIABLES = frozenset(
    {
        # EnvironmentCredential, the first in every chain; the client id also selects a managed identity
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
        "AZURE_USERNAME",
        "AZURE_PASSWORD",
        # the same in go-autorest and in .NET's AppAuthentication
        "AZURE_CERTIFICATE_PATH",
        "AZURE_CERTIFICATE_PASSWORD",
        "AzureServicesAuthConnectionString",
        # WorkloadIdentityCredential, the second; ManagedIdentityCredential becomes one if this is set (Python, Java)
        "AZURE_FEDERATED_TOKEN_FILE",
        # another metadata service; Service Fabric, Azure Arc, Azure ML
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "IDENTITY_SERVER_THUMBPRINT",
        "IDENTITY_API_VERSION",
        "IMDS_ENDPOINT",
        "DEFAULT_IDENTITY_CLIENT_ID",
        # set by wisp run itself
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "MSI_ENDPOINT",
        "MSI_SECRET",
    }
)
"""Variables that the command never inherits."""

_CHAIN = "AZURE_TOKEN_CREDENTIALS"
_CHAINS_WITH_MANAGED_IDENTITY = ("prod", "managedidentitycredential")
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_EXCEPTIONS = ("NO_PROXY", "no_proxy")

METADATA_ADDRESS = "169.254.169.254"
LOOPBACK = "127.0.0.1"


def command_environment(environ: Mapping[str, str], variables: Mapping[str, str], address: str) -> dict[str, str]:
    """Return the command's environment: `environ` without credential variables, and with `variables`.

    `address` is where tokens are requested; it is excluded from proxying.
    """
    inherited = {name: value for name, value in environ.items() if name not in CREDENTIAL_VARIABLES}
    if inherited.get(_CHAIN, "").strip().lower() not in _CHAINS_WITH_MANAGED_IDENTITY:
        inherited.pop(_CHAIN, None)
    return {**inherited, **_proxy_exceptions(environ, address), **variables}


def _proxy_exceptions(environ: Mapping[str, str], address: str) -> dict[str, str]:
    # In both spellings: clients differ in which one they read, and which first. A proxy would look for the address on
    # its own machine.
    if not any(environ.get(name) for name in _PROXIES):
        return {}
    either = next((environ[name] for name in _EXCEPTIONS if name in environ), "")
    return {name: _add_exception(environ.get(name, either), address) for name in _EXCEPTIONS}


def _add_exception(exceptions: str, address: str) -> str:
    known = exceptions.replace(",", " ").split()
    if address in known or "*" in known:
        return exceptions
    return f"{exceptions},{address}" if known else address


def original_environment(environ: Mapping[str, str], names: Collection[str] | None) -> dict[str, str]:
    """Return `environ` as this process received it; `names` are the variables it had then (None: not known).

    In the C locale Python sets LC_CTYPE for itself (PEP 538), which the command must not inherit.
    """
    if names is None or "LC_CTYPE" in names:
        return dict(environ)
    return {name: value for name, value in environ.items() if name != "LC_CTYPE"}


def local_environment(environ: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a local cloud and its sidecar: `base`, and the user's folder for temporary files."""
    return {**{name: value for name, value in environ.items() if name == "TMPDIR"}, **base}


def sidecar_environment(environ: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a sidecar that reaches a real authority, with the user's proxies and trust stores.

    Variables of Azure and Python are left out, and `base` takes precedence.
    """
    inherited = {name: value for name, value in environ.items() if not name.startswith(("AZURE_", "PYTHON"))}
    return {**{name: value for name, value in inherited.items() if name not in CREDENTIAL_VARIABLES}, **base}
