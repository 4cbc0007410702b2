"""Decides what the environment says of a custom token endpoint (identity bindings). Knows no file and no network.

What is refused here azidentity refuses too, for the same reason (sdk/azidentity/internal/customtokenproxy).
"""

from collections.abc import Mapping
from typing import NamedTuple

from wisp.azure.clouds import is_host, token_proxy_url, without_credentials
from wisp.base.constants import PEM_BEGIN
from wisp.base.errors import SettingError

PREFIX = "AZURE_KUBERNETES_"


class TokenProxy(NamedTuple):
    """A custom token endpoint, asked instead of the authority."""

    url: str
    sni_name: str | None = None
    """What it is called in TLS, where that is not the URL's host; its certificate must be for this name."""
    ca_file: str | None = None
    """A PEM file of the only authorities trusted for it."""
    ca_data: str | None = None
    """The same as PEM text; with neither, what is trusted for Entra is trusted for it."""


def token_proxy_of(environ: Mapping[str, str]) -> TokenProxy | None:
    """Read the AZURE_KUBERNETES_ variables; an empty one is a missing one. Raise SettingError naming one of them."""
    text = _read(environ, "TOKEN_PROXY")
    details = [_read(environ, name) for name in ("SNI_NAME", "CA_FILE", "CA_DATA")]
    if text is None:
        if any(details):
            raise SettingError(
                "AZURE_KUBERNETES_SNI_NAME, _CA_FILE or _CA_DATA is set but AZURE_KUBERNETES_TOKEN_PROXY is not",
                hint="set it to the custom token endpoint's URL, or unset them all",
            )
        return None
    url = token_proxy_url(text)
    if url is None:
        raise SettingError(
            f"AZURE_KUBERNETES_TOKEN_PROXY is not an https URL: {without_credentials(text)!r}",
            hint="give https, a host and perhaps a port and a path, but no user information, query or fragment",
        )
    return _checked(TokenProxy(url, *details))


def _checked(proxy: TokenProxy) -> TokenProxy:
    if proxy.sni_name is not None and not is_host(proxy.sni_name):
        raise SettingError(f"AZURE_KUBERNETES_SNI_NAME is not a name: {proxy.sni_name!r}", hint="give a DNS name")
    if proxy.ca_file is not None and proxy.ca_data is not None:
        raise SettingError(
            "AZURE_KUBERNETES_CA_FILE and AZURE_KUBERNETES_CA_DATA are both set", hint="unset one of them"
        )
    if proxy.ca_data is not None and PEM_BEGIN not in proxy.ca_data:
        raise SettingError("AZURE_KUBERNETES_CA_DATA holds no certificate", hint="give PEM text, line ends and all")
    return proxy


def _read(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(PREFIX + name, "").strip() or None
