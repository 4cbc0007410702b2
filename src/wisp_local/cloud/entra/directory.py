"""Decide whether an assertion is an identity's own; knows nothing of HTTP, storage or cryptography.

The rule is Entra's for federated identity credentials: issuer, subject and audience match exactly and case-sensitively
(https://learn.microsoft.com/entra/workload-id/workload-identity-federation, RFC 7523 §3). Only when they do is the
issuer asked for its keys, which is why the decision has two halves: `match_credential` before, `conclude` after.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never
from urllib.parse import urlsplit

from wisp_local.cloud.entra import refusals
from wisp_local.cloud.entra.refusals import Refused
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
        return resource_id_of_identity(self.subscription_id, self.resource_group, self.name)


def resource_id_of_identity(subscription_id: str, group: str, name: str) -> str:
    """Return the resource id of a user-assigned identity, in the spelling of xms_mirid."""
    group_id = f"/subscriptions/{subscription_id}/resourcegroups/{group}"
    return f"{group_id}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"


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


@dataclass(frozen=True)
class Granted:
    """The assertion is the identity's own, by this federated credential."""

    credential: FederatedCredential


Decision = Granted | Refused


def match_credential(
    assertion: Assertion, credentials: Sequence[FederatedCredential], now: float
) -> FederatedCredential | Refused:
    """Find the federated credential that the unverified `assertion` claims; `now` is in Unix seconds."""
    issuers = [each for each in credentials if each.issuer == assertion.issuer]
    if not issuers:
        return refusals.issuer_mismatch(assertion.issuer)
    subjects = [each for each in issuers if each.subject == assertion.subject]
    if not subjects:
        return _no_subject(assertion.subject, issuers)
    for each in subjects:
        if assertion.audience in each.audiences:
            return _within_time(assertion, each, now)
    return refusals.audience_mismatch(assertion.audience)


def _no_subject(subject: str, candidates: Iterable[FederatedCredential]) -> Refused:
    if any(each.subject.casefold() == subject.casefold() for each in candidates):
        return refusals.subject_differs_in_case(subject)
    return refusals.subject_mismatch(subject)


def _within_time(assertion: Assertion, credential: FederatedCredential, now: float) -> FederatedCredential | Refused:
    if not assertion.not_before <= now < assertion.expires:
        return refusals.not_within_valid_time(now, assertion.not_before, assertion.expires)
    if assertion.issued_at is not None and assertion.expires - assertion.issued_at > refusals.LONGEST_ASSERTION:
        return refusals.assertion_too_long_lived()
    return credential


def refuse_entra_issuer(issuer: str, tenant_id: str) -> Refused | None:
    """Refuse an `issuer` that is Entra itself, whose tokens no federated credential of the tenant can accept."""
    parts = urlsplit(issuer)
    host = parts.hostname or ""
    if not any(host == each or host.endswith(f".{each}") for each in _ENTRA_HOSTS):
        return None
    own = tenant_id in parts.path.lower().split("/")
    return refusals.issued_by_entra() if own else refusals.issued_by_other_tenant(issuer)


def conclude(assertion: Assertion, credential: FederatedCredential, signature: Signature) -> Decision:
    """Grant or refuse, now that the signature of an assertion that matches `credential` has been looked at."""
    match signature:
        case Signature.VERIFIED:
            return Granted(credential)
        case Signature.WRONG:
            return refusals.malformed_assertion()
        case Signature.KEY_NOT_PUBLISHED:
            return refusals.key_not_published(assertion.key_id, assertion.issuer)
        case Signature.KEY_NOT_USABLE:
            return refusals.key_not_usable()
        case Signature.ISSUER_UNREACHABLE:
            return refusals.issuer_unreachable()
        case _:
            assert_never(signature)
