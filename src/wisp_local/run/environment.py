"""The command's environment: what it is told, and what would make an SDK choose another way; decides by names alone.

Everything else is passed on as it is. Sources: the variables that the Azure SDKs' chains of credentials read
(azure-identity for Python, Node, Java; azidentity and its predecessor go-autorest; .NET's AppAuthentication).
"""

from collections.abc import Collection, Mapping

CHOOSES_OTHERWISE = frozenset(
    {
        # EnvironmentCredential, the first in every chain; the client id chooses among managed identities, too
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
        "AZURE_USERNAME",
        "AZURE_PASSWORD",
        # what it is in go-autorest, and in .NET's AppAuthentication
        "AZURE_CERTIFICATE_PATH",
        "AZURE_CERTIFICATE_PASSWORD",
        "AzureServicesAuthConnectionString",
        # WorkloadIdentityCredential, the second; ManagedIdentityCredential turns into it where it is set (Python, Java)
        "AZURE_FEDERATED_TOKEN_FILE",
        # another metadata service; Service Fabric, Azure Arc, Azure ML
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "IDENTITY_SERVER_THUMBPRINT",
        "IDENTITY_API_VERSION",
        "IMDS_ENDPOINT",
        "DEFAULT_IDENTITY_CLIENT_ID",
        # what we tell, where we do
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


def for_command(environ: Mapping[str, str], variables: Mapping[str, str], address: str) -> dict[str, str]:
    """Return the command's environment: `environ` without what chooses otherwise, and with `variables`.

    `address` is where tokens are asked for: no proxy leads there.
    """
    kept = {name: value for name, value in environ.items() if name not in CHOOSES_OTHERWISE}
    if kept.get(_CHAIN, "").strip().lower() not in _CHAINS_WITH_MANAGED_IDENTITY:
        kept.pop(_CHAIN, None)
    return {**kept, **_past_proxies(environ, address), **variables}


def _past_proxies(environ: Mapping[str, str], address: str) -> dict[str, str]:
    """Except `address` from proxying, in both spellings: clients differ in which one they read, and which first.

    A proxy would look for the address on its own machine.
    """
    if not any(environ.get(name) for name in _PROXIES):
        return {}
    either = next((environ[name] for name in _EXCEPTIONS if name in environ), "")
    return {name: _with(environ.get(name, either), address) for name in _EXCEPTIONS}


def _with(exceptions: str, address: str) -> str:
    known = exceptions.replace(",", " ").split()
    if address in known or "*" in known:
        return exceptions
    return f"{exceptions},{address}" if known else address


def as_started(environ: Mapping[str, str], names: Collection[str] | None) -> dict[str, str]:
    """Return `environ` as this process was given it, `names` being what was in it then (None: not known).

    In the C locale Python sets LC_CTYPE for itself (PEP 538), which is not the command's business.
    """
    if names is None or "LC_CTYPE" in names:
        return dict(environ)
    return {name: value for name, value in environ.items() if name != "LC_CTYPE"}


def for_local_parts(environ: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a local cloud and its sidecar: `base`, and where the user wants temporary files."""
    return {**{name: value for name, value in environ.items() if name == "TMPDIR"}, **base}


def for_parts(environ: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a sidecar that goes out to a real authority: proxies and trust stores are the user's.

    What is Azure's or Python's of it stays out, and `base` wins.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(("AZURE_", "PYTHON"))}
    return {**{name: value for name, value in kept.items() if name not in CHOOSES_OTHERWISE}, **base}
