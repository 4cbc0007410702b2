"""Clouds, GUIDs, tenants, authorities and scopes of Azure, as text. Pure."""

from typing import NamedTuple


class Cloud(NamedTuple):
    """One of Azure's clouds. They share nothing: an identity of one is unknown to the others."""

    name: str
    authorities: tuple[str, ...]
    """URLs of its token authorities. The first one is the value of AZURE_AUTHORITY_HOST."""
    resource_manager: str
    """The resource of Resource Manager tokens, without the slash at the end that Azure's own tools add."""


CLOUDS = (
    Cloud("AzurePublicCloud", ("https://login.microsoftonline.com/",), "https://management.azure.com"),
    Cloud("AzureUSGovernmentCloud", ("https://login.microsoftonline.us/",), "https://management.usgovcloudapi.net"),
    Cloud(
        "AzureChinaCloud",
        ("https://login.chinacloudapi.cn/", "https://login.partner.microsoftonline.cn/"),
        "https://management.chinacloudapi.cn",
    ),
    Cloud("AzureGermanCloud", ("https://login.microsoftonline.de/",), "https://management.microsoftazure.de"),
)
"""The public cloud and the national clouds, by the names in Azure's SDKs and in the webhook's azureEnvironment."""

CLOUD_ALIASES = {"azurecloud": "azurepubliccloud", "azureusgovernment": "azureusgovernmentcloud"}
"""Other names of two clouds, in lower case: those of `az cloud list` and of azure-workload-identity."""

DEFAULT_AUTHORITY = CLOUDS[0].authorities[0]

# Strings of characters, because a set of 64 takes 8 kB in every pod. `text.strip(characters)` is empty if `text` has no
# others.
_HEX = "0123456789abcdefABCDEF"
_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_HOST = _ALPHANUMERIC + "-._"
_IPV6 = _HEX + ":."
_URL = _ALPHANUMERIC + "-._~%!$&'()*+,;=:/[]"
"""What an authority's host and path may hold (RFC 3986); no user information, query or fragment."""
_TENANT = _ALPHANUMERIC + ".-"


def is_guid(text: str) -> bool:
    """Return whether `text` is a GUID in its usual form, 8-4-4-4-12 hexadecimal digits."""
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and not any(part.strip(_HEX) for part in parts)


def is_tenant(text: str) -> bool:
    """Return whether `text` can name a tenant: a GUID or a domain name."""
    return bool(text) and not text.strip(_TENANT) and not text.startswith((".", "-"))


def cloud_named(name: str) -> Cloud | None:
    """Return the cloud called `name`, ignoring case as Azure's SDKs do, or None."""
    lowered = name.strip().lower()
    lowered = CLOUD_ALIASES.get(lowered, lowered)
    return next((cloud for cloud in CLOUDS if cloud.name.lower() == lowered), None)


def scope_of(resource: str) -> str:
    """Return the scope that asks for a token for `resource` (v2 endpoint: resource + `/.default`).

    A slash at the end is kept: Entra takes everything before the last `/.default` as the audience, so the resource
    `https://database.windows.net/` needs `https://database.windows.net//.default`.
    """
    return resource if resource.endswith("/.default") else f"{resource}/.default"


def authority_url(text: str) -> str | None:
    """Return `text` as the URL of an authority, ending in a slash, or None if it is invalid.

    Without a scheme, https is added, as the Azure SDKs do. Any other scheme is refused, because the assertion must not
    be sent unencrypted. User information, query and fragment are refused, too.
    """
    scheme, found, rest = text.strip().partition("://")
    if not found:
        scheme, rest = "https", scheme
    host = rest.split("/", 1)[0]
    if scheme.lower() != "https" or not is_host_and_port(host) or rest.strip(_URL):
        return None
    return f"https://{rest.rstrip('/')}/"


def token_proxy_url(text: str) -> str | None:
    """Return `text` as the URL of a custom token endpoint, ending in a slash, or None if it is invalid.

    The scheme https is required; the other rules are those of `authority_url`. azidentity accepts and refuses the same
    (sdk/azidentity/internal/customtokenproxy, parseTokenProxyURL).
    """
    return authority_url(text) if "://" in text else None


def without_credentials(url: str) -> str:
    """Return `url`, well-formed or not, with its user information masked, which may hold a password."""
    head, found, tail = url.rpartition("@")
    scheme, separator, _ = head.partition("://")
    return f"{scheme if separator else ''}{separator}***@{tail}" if found else url


def is_host_and_port(text: str) -> bool:
    """Return whether `text` is a host or a bracketed IPv6 address, with or without a port from 1 to 65535."""
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host = text
    elif not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        return False
    if host.startswith("["):
        return host.endswith("]") and ":" in host and not host[1:-1].strip(_IPV6)
    return is_host(host)


def is_host(text: str) -> bool:
    """Return whether `text` can be a host name or an IPv4 address."""
    return bool(text) and not text.strip(_HOST) and not text.startswith((".", "-"))


def token_url(authority: str, tenant: str) -> str:
    """Return the v2.0 token endpoint of `tenant` at `authority` (which ends in a slash)."""
    return f"{authority}{tenant}/oauth2/v2.0/token"


def token_url_behind(token_proxy: str, authority: str, tenant: str) -> str:
    """Return the URL of the same request at a custom token endpoint (which ends in a slash).

    Its path is followed by the path of the original request, with the tenant, as in azidentity
    (rewriteProxyRequestURL), azure-identity for Python (_update_request_url), .NET (RewriteRequestUrl) and Rust
    (rewrite_proxy_url).
    """
    return token_proxy + token_url(authority, tenant).split("/", 3)[3]
