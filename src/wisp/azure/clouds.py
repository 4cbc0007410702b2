"""Names of Azure things: clouds, GUIDs, tenants, authorities, scopes. Decides by the text alone; knows no network."""

from typing import NamedTuple


class Cloud(NamedTuple):
    """One of Azure's clouds, which share nothing: an identity of one is unknown to the others."""

    name: str
    authorities: tuple[str, ...]
    """Where its tokens come from; the first is what AZURE_AUTHORITY_HOST is set to."""
    resource_manager: str
    """The resource of the tokens that manage it, without the slash that Azure's own tools put at its end."""


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
"""Azure, national clouds; the names are those of Azure's SDKs and of the webhook's azureEnvironment."""

CLOUD_ALIASES = {"azurecloud": "azurepubliccloud", "azureusgovernment": "azureusgovernmentcloud"}
"""Names in lower case that `az cloud list` and azure-workload-identity's azureEnvironment have for two of them."""

DEFAULT_AUTHORITY = CLOUDS[0].authorities[0]

_HEX = frozenset("0123456789abcdefABCDEF")
_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_HOST = _ALPHANUMERIC | frozenset("-._")
_IPV6 = _HEX | frozenset(":.")
_URL = _ALPHANUMERIC | frozenset("-._~%!$&'()*+,;=:/[]")
"""What an authority's host and path may hold (RFC 3986); no user information, query or fragment."""
_TENANT = _ALPHANUMERIC | frozenset(".-")


def is_guid(text: str) -> bool:
    """Say whether `text` is a GUID in its usual form, 8-4-4-4-12 hexadecimal digits."""
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and all(_HEX.issuperset(part) for part in parts)


def is_tenant(text: str) -> bool:
    """Say whether `text` can name a tenant: a GUID or a domain name."""
    return bool(text) and _TENANT.issuperset(text) and not text.startswith((".", "-"))


def cloud_named(name: str) -> Cloud | None:
    """Return the cloud called `name`, in any case as in Azure's SDKs, or None."""
    wanted = name.strip().lower()
    wanted = CLOUD_ALIASES.get(wanted, wanted)
    return next((cloud for cloud in CLOUDS if cloud.name.lower() == wanted), None)


def scope_of(resource: str) -> str:
    """Return the scope that asks for a token for `resource` (v2 endpoint: resource + `/.default`).

    No slash is tidied away: Entra takes everything before the last `/.default` as the audience, so the resource
    `https://database.windows.net/` needs `https://database.windows.net//.default`.
    """
    return resource if resource.endswith("/.default") else f"{resource}/.default"


def authority_url(text: str) -> str | None:
    """Return `text` as an authority's URL that ends in a slash, or None where it is none.

    https is added where no scheme is given, as the Azure SDKs do; any other scheme is refused, for the assertion must
    not travel in the clear. Credentials, query and fragment have no place in it.
    """
    scheme, found, rest = text.strip().partition("://")
    if not found:
        scheme, rest = "https", scheme
    host = rest.split("/", 1)[0]
    if scheme.lower() != "https" or not is_host_and_port(host) or not _URL.issuperset(rest):
        return None
    return f"https://{rest.rstrip('/')}/"


def token_proxy_url(text: str) -> str | None:
    """Return `text` as the URL of a custom token endpoint that ends in a slash, or None where it is none.

    It must say https itself; otherwise as for an authority, which is what azidentity takes and refuses
    (sdk/azidentity/internal/customtokenproxy, parseTokenProxyURL).
    """
    return authority_url(text) if "://" in text else None


def shown(url: str) -> str:
    """Return what may be shown of `url`, well-formed or not: user information may hold a password."""
    head, found, tail = url.rpartition("@")
    scheme, separator, _ = head.partition("://")
    return f"{scheme if separator else ''}{separator}***@{tail}" if found else url


def is_host_and_port(text: str) -> bool:
    """Say whether `text` is a host, a bracketed IPv6 address included, with or without a port from 1 to 65535."""
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host = text
    elif not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        return False
    if host.startswith("["):
        return host.endswith("]") and ":" in host and _IPV6.issuperset(host[1:-1])
    return is_host(host)


def is_host(text: str) -> bool:
    """Say whether `text` can be a host's name or an IPv4 address."""
    return bool(text) and _HOST.issuperset(text) and not text.startswith((".", "-"))


def token_url(authority: str, tenant: str) -> str:
    """Return the v2.0 token endpoint of `tenant` at `authority` (which ends in a slash)."""
    return f"{authority}{tenant}/oauth2/v2.0/token"


def token_url_behind(token_proxy: str, authority: str, tenant: str) -> str:
    """Return where the same request goes with a custom token endpoint (which ends in a slash).

    Its path comes first, then the path that the request would have had, tenant and all: so do azidentity
    (rewriteProxyRequestURL), azure-identity for Python (_update_request_url), .NET (RewriteRequestUrl) and Rust
    (rewrite_proxy_url).
    """
    return token_proxy + token_url(authority, tenant).split("/", 3)[3]
