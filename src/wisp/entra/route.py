"""The route to the token endpoint: a custom one (identity bindings), or a forward proxy, by the environment alone.

Most sidecars have neither, and do not load this.
"""

from collections.abc import Mapping
from typing import NamedTuple

from wisp.azure import is_host, is_host_and_port, token_proxy_url, without_credentials
from wisp.base.constants import PEM_BEGIN
from wisp.base.errors import SettingError
from wisp.base.secret import Secret

_PREFIX = "AZURE_KUBERNETES_"


class TokenProxy(NamedTuple):
    """A custom token endpoint, used instead of the authority."""

    url: str
    sni_name: str | None = None
    """Its name in TLS, if that is not the URL's host; its certificate must be for this name."""
    ca_file: str | None = None
    """A PEM file of the only authorities trusted for it."""
    ca_data: str | None = None
    """The same as PEM text; with neither, the authorities trusted for Entra are trusted for it."""


def token_proxy_of(environ: Mapping[str, str]) -> TokenProxy | None:
    """Read the AZURE_KUBERNETES_ variables; an empty one counts as missing. Raise SettingError.

    What is refused here azidentity refuses too, for the same reason (sdk/azidentity/internal/customtokenproxy).
    """
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
    return environ.get(_PREFIX + name, "").strip() or None


_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class ForwardProxy(NamedTuple):
    """A forward proxy: its URL without credentials, the variable that names it, and its credentials."""

    url: str
    variable: str
    credentials: Secret | None = None
    """`user:password`, percent-encoded as they were in the URL."""


def forward_proxy_for(url: str, environ: Mapping[str, str]) -> ForwardProxy | None:
    """Return the proxy on the way to `url` (https), or None.

    The rules are those of curl and requests: HTTPS_PROXY, else ALL_PROXY, in lower case first; NO_PROXY names hosts
    (with their subdomains), addresses, networks and ports that need no proxy. Loopback never does, as in Go: a local
    cloud on a laptop is not behind the company's proxy. Raise SettingError, without the password, if the proxy is not
    an http or https URL.
    """
    variable = next((name for name in _VARIABLES if environ.get(name, "").strip()), None)
    if variable is None:
        return None
    host, port = _host_and_port(url)
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if _is_loopback(host) or _is_exempt(host, port, exempt):
        return None
    return _parsed(variable, environ[variable].strip())


def _parsed(variable: str, text: str) -> ForwardProxy:
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "http", text
    credentials, at, address = rest.rstrip("/").rpartition("@")
    if scheme.lower() not in ("http", "https") or not is_host_and_port(address):
        raise SettingError(
            f"{variable} is not the URL of an http or https proxy: {without_credentials(text)!r}",
            hint="use http://HOST:PORT, with USER:PASSWORD@ before the host if it needs them",
        )
    return ForwardProxy(f"{scheme.lower()}://{address}", variable, Secret(credentials) if at and credentials else None)


def _host_and_port(url: str) -> tuple[str, str]:
    """Return host, without brackets, and port of an https URL that was checked."""
    address = url.split("/", 3)[2].lower()
    if address.endswith("]") or ":" not in address:
        return address.strip("[]"), "443"
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or (_is_address(host) and host.startswith("127."))


def _is_exempt(host: str, port: str, no_proxy: str) -> bool:
    entries = no_proxy.lower().replace(",", " ").split()
    return any(entry == "*" or _matches(entry, host, port) for entry in entries)


def _matches(entry: str, host: str, port: str) -> bool:
    name, entry_port = _split(entry)
    if entry_port not in ("", port):
        return False
    if _is_address(host):
        return _contains(name, host)
    name = name.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, str]:
    """Return the name in an entry of NO_PROXY, and the port that it is limited to, if any."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    name, colon, port = entry.rpartition(":")
    return (name, port) if colon and ":" not in name else (entry, "")


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _contains(network: str, address: str) -> bool:
    """Return whether `network`, an address or a CIDR block, contains `address`."""
    import ipaddress  # noqa: PLC0415 -- a megabyte of memory, needed only for a NO_PROXY with addresses

    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
