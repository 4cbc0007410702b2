"""What Azure lets things be called, and federated credentials contain; raises `RequestError` for what it does not.

Resource names: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules; federated
credentials: https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from wisp_local.cloud.errors import RequestError

_GROUP = re.compile(r"[-\w.()]{0,89}[-\w()]")
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}")
_CLUSTER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_LOCATION = re.compile(r"[A-Za-z0-9]{1,60}")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/][^\s]*")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME_LIMIT = 120  # characters of an application's display name
_LIMIT = 600  # characters of an issuer, a subject or an audience


def check_group(name: str, location: str) -> None:
    """Check a resource group's name and location."""
    _check(_GROUP, name, "resource group", "up to 90 letters, digits, - _ . ( ), no dot at the end")
    _check_location(location)


def check_identity(name: str, location: str) -> None:
    """Check a managed identity's name and location."""
    _check(_IDENTITY, name, "identity", "3 to 128 letters, digits, - or _, a letter or digit first")
    _check_location(location)


def check_cluster(name: str) -> None:
    """Check a cluster's name, which its issuer is called by."""
    _check(_CLUSTER, name, "cluster", "up to 63 letters, digits, - or _, a letter or digit first and last")


def check_principal(display_name: str, client_id: str | None) -> None:
    """Check an application's display name, and the client id that it may bring along."""
    if not 0 < len(display_name) <= _NAME_LIMIT or not display_name.isprintable():
        raise RequestError(f"{display_name!a:.80} is no valid application name", hint="give 1 to 120 characters")
    if client_id is not None:
        _check(_GUID, client_id, "client id", "a GUID, or leave it out")


def check_credential(name: str, issuer: str, subject: str, audiences: tuple[str, ...]) -> None:
    """Check a federated credential: its name, an https issuer, a subject and one audience."""
    _check(_CREDENTIAL, name, "federated credential", "3 to 120 letters, digits, - or _, a letter or digit first")
    if len(audiences) != 1:
        raise RequestError(f"a federated credential has {len(audiences)} audiences", hint="give exactly one")
    for what, value in (("issuer", issuer), ("subject", subject), ("audience", audiences[0])):
        if not 0 < len(value) <= _LIMIT or not value.isprintable():
            raise RequestError(f"the {what} {value!a:.80} cannot be used", hint=f"give 1 to {_LIMIT} characters")
    if not is_issuer_url(issuer):
        raise RequestError(f"the issuer {issuer} cannot be fetched", hint="give an https URL without query or user")


def is_credential_name(name: str) -> bool:
    """Tell whether a federated credential can be called `name`."""
    return _CREDENTIAL.fullmatch(name) is not None


def is_guid(text: str) -> bool:
    """Tell whether `text` is a GUID."""
    return _GUID.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """Tell whether `text` is a domain name of two labels or more, which a tenant can be called by."""
    return "." in text and _HOST.fullmatch(text) is not None


def is_issuer_url(text: str) -> bool:
    """Tell whether `text` is an https URL as OpenID Connect Discovery §3 wants an issuer: no query, no fragment."""
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and port_is_valid and not set(text) & set("?#@ ")


def is_resource(text: str) -> bool:
    """Tell whether `text` can be the audience of an access token: a URI with a host, or a GUID."""
    return bool(_RESOURCE.fullmatch(text) or _GUID.fullmatch(text))


def is_host(name: str) -> bool:
    """Tell whether `name` is a DNS name or an IP address that a certificate can be for."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return _HOST.fullmatch(name) is not None
    return "%" not in name  # a scope id means something on one machine only


def _check_location(location: str) -> None:
    _check(_LOCATION, location, "location", "a region's short name, such as eastus")


def _check(pattern: re.Pattern[str], text: str, what: str, rule: str) -> None:
    if pattern.fullmatch(text) is None:
        raise RequestError(f"{text!a:.80} is no valid {what} name", hint=f"give {rule}")
