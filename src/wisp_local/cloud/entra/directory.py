"""The objects of a directory, and the decision whether an assertion is a client's own.

The rule is Entra's for federated identity credentials: issuer, subject and audience match exactly and case-sensitively
(https://learn.microsoft.com/entra/workload-id/workload-identity-federation, RFC 7523 §3). Only when they do is the
issuer asked for its keys; so the decision has two halves: `match_credential` before, `refuse_signature` after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never
from urllib.parse import urlsplit

from wisp_local.cloud.entra.refusals import LONGEST_ASSERTION, Refused, not_within_valid_time, refuse
from wisp_local.cloud.entra.request import Assertion

DEFAULT_AUDIENCE = "api://AzureADTokenExchange"  # what `az` sends when --audience is absent
_ENTRA_HOSTS = (
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
    "login.microsoftonline.us",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
    "sts.chinacloudapi.cn",
    "login.microsoftonline.de",
    "sts.microsoftonline.de",
)
"""Hosts of Entra's own issuers: https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
lists those of the public cloud."""


@dataclass(frozen=True)
class Tenant:
    """A directory; `created` in Unix seconds becomes the claim xms_tcdt."""

    id: str
    display_name: str
    created: int


@dataclass(frozen=True)
class Subscription:
    """What resource groups live in."""

    id: str
    tenant_id: str
    display_name: str


@dataclass(frozen=True)
class ResourceGroup:
    """A resource group of a subscription."""

    subscription_id: str
    name: str
    location: str
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def resource_id(self) -> str:
        """The id as Resource Manager writes it, `resourceGroups` in camel case."""
        return f"/subscriptions/{self.subscription_id}/resourceGroups/{self.name}"


@dataclass(frozen=True)
class ManagedIdentity:
    """A user-assigned managed identity: `client_id` asks for tokens, `principal_id` is who the token then is."""

    subscription_id: str
    resource_group: str
    name: str
    location: str
    client_id: str
    principal_id: str
    tenant_id: str
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def resource_id(self) -> str:
        """The id as tokens write it in xms_mirid, `resourcegroups` in lower case."""
        group = f"/subscriptions/{self.subscription_id}/resourcegroups/{self.resource_group}"
        return f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{self.name}"


@dataclass(frozen=True)
class Application:
    """A registered application and its service principal in this tenant, `principal_id`: what `az login` calls one."""

    client_id: str
    object_id: str
    principal_id: str
    display_name: str
    tenant_id: str


Client = ManagedIdentity | Application  # who can ask for a token


@dataclass(frozen=True)
class FederatedCredential:
    """Whose assertions a client accepts: tokens of `issuer` for `subject`, meant for one of `audiences`."""

    name: str
    issuer: str
    subject: str
    audiences: tuple[str, ...]


class SecretCheck(Enum):
    """What a client secret turned out to be."""

    RIGHT = "right"
    EXPIRED = "expired"
    WRONG = "wrong"


class Signature(Enum):
    """What became of checking the assertion's signature against the issuer's published keys."""

    VERIFIED = "verified"
    WRONG = "wrong"
    KEY_NOT_PUBLISHED = "key not published"
    KEY_NOT_USABLE = "key not usable"
    ISSUER_UNREACHABLE = "issuer unreachable"


def match_credential(
    assertion: Assertion, credentials: Sequence[FederatedCredential], now: float
) -> FederatedCredential | Refused:
    """Find the federated credential that the unverified `assertion` claims; `now` is in Unix seconds."""
    candidates = [credential for credential in credentials if credential.issuer == assertion.issuer]
    if not candidates:
        return refuse("issuer_mismatch", value=assertion.issuer)
    subject = assertion.subject
    matches = [credential for credential in candidates if credential.subject == subject]
    if not matches:
        differs_in_case = any(credential.subject.casefold() == subject.casefold() for credential in candidates)
        return refuse("subject_differs_in_case" if differs_in_case else "subject_mismatch", value=subject)
    for credential in matches:
        if assertion.audience in credential.audiences:
            return _refuse_time(assertion, now) or credential
    return refuse("audience_mismatch", value=assertion.audience)


def _refuse_time(assertion: Assertion, now: float) -> Refused | None:
    if not assertion.not_before <= now < assertion.expires:
        return not_within_valid_time(now, assertion.not_before, assertion.expires)
    if assertion.issued_at is not None and assertion.expires - assertion.issued_at > LONGEST_ASSERTION:
        return refuse("assertion_too_long_lived")
    return None


def refuse_entra_issuer(issuer: str, tenant_id: str) -> Refused | None:
    """Refuse an `issuer` that is Entra itself, whose tokens no federated credential of the tenant can accept."""
    parts = urlsplit(issuer)
    host = parts.hostname or ""
    if not any(host == entra or host.endswith(f".{entra}") for entra in _ENTRA_HOSTS):
        return None
    own = tenant_id in parts.path.lower().split("/")
    return refuse("issued_by_entra") if own else refuse("issued_by_other_tenant", issuer=issuer)


def refuse_signature(assertion: Assertion, signature: Signature) -> Refused | None:
    """Refuse an assertion that matches a federated credential, unless its signature has been verified."""
    match signature:
        case Signature.VERIFIED:
            return None
        case Signature.WRONG:
            return refuse("malformed_assertion")
        case Signature.KEY_NOT_PUBLISHED:
            return refuse("key_not_published", key_id=assertion.key_id, issuer=assertion.issuer)
        case Signature.KEY_NOT_USABLE:
            return refuse("key_not_usable")
        case Signature.ISSUER_UNREACHABLE:
            return refuse("issuer_unreachable")
        case _:
            assert_never(signature)
