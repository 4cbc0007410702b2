"""Azure's rules for names and for federated credentials; what breaks a rule raises `RequestError`.

Resource names: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules; federated
credentials: https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations.
"""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from wisp_local.cloud.entra.audiences import is_resource
from wisp_local.cloud.entra.directory import FederatedCredential
from wisp_local.cloud.errors import ConflictError, RequestError

MAXIMUM_FEDERATED_CREDENTIALS = 20  # of an identity or application

_GROUP = re.compile(r"[-\w.()]{0,89}[-\w()]")
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}")
_CLUSTER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_LOCATION = re.compile(r"[A-Za-z0-9]{1,60}")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
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
    """Check a cluster's name, which is also its issuer's."""
    _check(_CLUSTER, name, "cluster", "up to 63 letters, digits, - or _, a letter or digit first and last")


def check_principal(display_name: str, client_id: str | None) -> None:
    """Check an application's display name, and the client id that its owner chose."""
    if not 0 < len(display_name) <= _NAME_LIMIT or not display_name.isprintable():
        raise RequestError(f"{display_name!a:.80} is not a valid application name", hint="give 1 to 120 characters")
    if client_id is not None:
        _check(_GUID, client_id, "client id", "a GUID, or leave it out")


def check_credential(credential: FederatedCredential) -> None:
    """Check a federated credential: its name, an https issuer, a subject and exactly one audience."""
    rule = "3 to 120 letters, digits, - or _, a letter or digit first"
    _check(_CREDENTIAL, credential.name, "federated credential", rule)
    if len(credential.audiences) != 1:
        problem = f"a federated credential has {len(credential.audiences)} audiences"
        raise RequestError(problem, hint="give exactly one")
    fields = {"issuer": credential.issuer, "subject": credential.subject, "audience": credential.audiences[0]}
    for field, value in fields.items():
        if not 0 < len(value) <= _LIMIT:
            problem = f"the {field} has {len(value)} characters; 1 to {_LIMIT} are allowed"
            raise RequestError(problem, hint="shorten it")
        if not value.isprintable():
            raise RequestError(f"the {field} {value!a:.80} has characters that cannot be printed", hint="remove them")
    if not is_issuer_url(credential.issuer):
        problem = f"the issuer {credential.issuer} is not an https URL without user, query and fragment"
        raise RequestError(problem, hint="give the issuer URL of the tokens")


def check_credential_fits(credential: FederatedCredential, others: Collection[FederatedCredential]) -> None:
    """Check that `credential` can be added to `others` of the same client.

    Raises `ConflictError` when one of them has its issuer and subject, `RequestError` for the twenty-first.
    """
    for other in others:
        if (other.issuer, other.subject) == (credential.issuer, credential.subject):
            raise ConflictError(
                f"federated credential {other.name} already has this issuer and subject",
                hint="they are unique within an identity: change or delete that one",
            )
    if len(others) >= MAXIMUM_FEDERATED_CREDENTIALS:
        raise RequestError(
            f"the identity has {MAXIMUM_FEDERATED_CREDENTIALS} federated credentials, Azure's limit",
            hint="delete one, or use another identity",
        )


def is_credential_name(name: str) -> bool:
    """Tell whether a federated credential can be called `name`."""
    return _CREDENTIAL.fullmatch(name) is not None


def is_guid(text: str) -> bool:
    """Tell whether `text` is a GUID."""
    return _GUID.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """Tell whether `text` is a domain name of two labels or more, which can name a tenant."""
    return "." in text and _HOST.fullmatch(text) is not None


def is_issuer_url(text: str) -> bool:
    """Tell whether `text` is an https URL without user, query and fragment (OpenID Connect Discovery §3)."""
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and port_is_valid and not set(text) & set("?#@ ")


def check_resource(uri: str) -> None:
    """Check the URI or GUID of a resource of the tenant's own."""
    if not is_resource(uri):
        raise RequestError(f"{uri!a:.80} cannot be a resource", hint="give a URI such as api://my-api, or a GUID")


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
        raise RequestError(f"{text!a:.80} is not a valid {what} name", hint=f"give {rule}")
