"""Decides whether a request goes out through a forward proxy, by the environment's words alone. Knows no network.

The rules are those of curl and requests: HTTPS_PROXY, else ALL_PROXY, in lower case first; NO_PROXY names hosts (with
their subdomains), addresses, networks and ports that are reached without. Loopback always is, as in Go: a local cloud
on a laptop is not behind the company's proxy.
"""

from collections.abc import Mapping
from typing import NamedTuple

from wisp.azure.clouds import is_host_and_port, without_credentials
from wisp.base.errors import SettingError
from wisp.base.secret import Secret

VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class Forward(NamedTuple):
    """A forward proxy: its URL without credentials, the variable that names it, and what it wants to see."""

    url: str
    variable: str
    credentials: Secret | None = None
    """`user:password`, percent-encoded as they were in the URL."""


def forward_for(url: str, environ: Mapping[str, str]) -> Forward | None:
    """Return the proxy on the way to `url` (https), None where there is none.

    Raise SettingError where it is neither http nor https, or no URL; the text holds no password.
    """
    variable = next((name for name in VARIABLES if environ.get(name, "").strip()), None)
    if variable is None:
        return None
    host, port = _host_and_port(url)
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if _is_loopback(host) or _is_exempt(host, port, exempt):
        return None
    return _parsed(variable, environ[variable].strip())


def _parsed(variable: str, text: str) -> Forward:
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "http", text
    credentials, at, address = rest.rstrip("/").rpartition("@")
    if scheme.lower() not in ("http", "https") or not is_host_and_port(address):
        raise SettingError(
            f"{variable} is not the URL of an http or https proxy: {without_credentials(text)!r}",
            hint="use http://HOST:PORT, with USER:PASSWORD@ before the host where it wants them",
        )
    return Forward(f"{scheme.lower()}://{address}", variable, Secret(credentials) if at and credentials else None)


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
    name, wanted = _split(entry)
    if wanted not in ("", port):
        return False
    if _is_address(host):
        return _contains(name, host)
    name = name.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, str]:
    """Return what an entry names and the port that it is limited to, if it is."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    name, colon, port = entry.rpartition(":")
    return (name, port) if colon and ":" not in name else (entry, "")


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _contains(network: str, address: str) -> bool:
    """Say whether `network`, an address or a CIDR block, holds `address`; names and nonsense hold none."""
    import ipaddress  # noqa: PLC0415 -- a megabyte of the sidecar's memory, needed where NO_PROXY names something

    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
