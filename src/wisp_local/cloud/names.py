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
BINDING_CREDENTIAL = "aks-identity-binding"  # the federated credential that AKS creates with an identity binding

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME_LIMIT = 120  # characters of an application's display name
_LIMIT = 600  # characters of an issuer, a subject or an audience
_RULES = {
    "resource group": (r"[-\w.()]{0,89}[-\w()]", "up to 90 letters, digits, - _ . ( ), no dot at the end"),
    "location": (r"[A-Za-z0-9]{1,60}", "a region's short name, such as eastus"),
    "identity": (r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}", "3 to 128 letters, digits, - or _, a letter or digit first"),
    "federated credential": (
        r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}",
        "3 to 120 letters, digits, - or _, a letter or digit first",
    ),
    "cluster": (
        r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?",
        "up to 63 letters, digits, - or _, a letter or digit first and last",
    ),
    "identity binding": (
        r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?",
        "up to 63 letters, digits, - or _, a letter or digit first and last",
    ),
}
"""By kind of object: the pattern of its names, and the rule in words."""


def is_name(kind: str, name: str) -> bool:
    """Tell whether an object of that kind (a key of the table) can have this name; an issuer has its cluster's."""
    return re.fullmatch(_RULES[kind][0], name) is not None


def check_name(kind: str, name: str) -> None:
    """Check the name of an object of that kind, as `is_name` does."""
    if not is_name(kind, name):
        raise RequestError(f"{name!a:.80} is not a valid {kind} name", hint=f"give {_RULES[kind][1]}")


def check_principal(display_name: str, client_id: str | None) -> None:
    """Check an application's display name, and the client id that its owner chose."""
    if not 0 < len(display_name) <= _NAME_LIMIT or not display_name.isprintable():
        raise RequestError(f"{display_name!a:.80} is not a valid application name", hint="give 1 to 120 characters")
    if client_id is not None and not is_guid(client_id):
        raise RequestError(f"{client_id!a:.80} is not a valid client id", hint="give a GUID, or leave it out")


def check_credential(credential: FederatedCredential) -> None:
    """Check a federated credential: its name, an https issuer, a subject and exactly one audience."""
    check_name("federated credential", credential.name)
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
