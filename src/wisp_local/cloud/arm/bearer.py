"""Decide whether a token opens Resource Manager; knows neither HTTP nor keys: the signature was looked at elsewhere.

Only tokens of this cloud's own Entra do: of its tenant, for this audience, within their time. `permission` checks the
roles of the caller where a request needs one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.entra.claims import token_issuer


@dataclass(frozen=True)
class Caller:
    """The client id and the principal id (object id) of the token."""

    client_id: str
    principal_id: str


@dataclass(frozen=True)
class Unreadable:
    """No JWT, or one that our keys have not signed."""


@dataclass(frozen=True)
class Presented:
    """The claims of a token, and whether one of our keys signed it."""

    claims: Mapping[str, object]
    verified: bool


def admit(presented: Presented | Unreadable | None, *, tenant: str, audiences: Collection[str], now: float) -> Caller:
    """Return who calls, or raise the `ResourceError` (401) that Azure gives; `now` in Unix seconds."""
    match presented:
        case None:
            message = "Authentication failed. The 'Authorization' header is missing."
            raise ResourceError(401, "AuthenticationFailed", message)
        case Unreadable():
            raise _invalid()
        case Presented():
            return _admitted(presented, tenant, audiences, now)
        case _:
            assert_never(presented)


def _admitted(presented: Presented, tenant: str, audiences: Collection[str], now: float) -> Caller:
    claims = presented.claims
    if claims.get("iss") != token_issuer(tenant):
        raise _wrong_tenant(str(claims.get("iss")), tenant)
    expires, not_before = claims.get("exp"), claims.get("nbf")
    if not presented.verified or not isinstance(expires, int) or not isinstance(not_before, int):
        raise _invalid()
    if now >= expires:
        raise _expired(expires, now)
    if now < not_before - _SKEW:
        raise _invalid()
    if str(claims.get("aud")).rstrip("/").lower() not in {each.rstrip("/").lower() for each in audiences}:
        raise _wrong_audience(str(claims.get("aud")), audiences)
    return Caller(str(claims.get("appid")), str(claims.get("oid")))


_SKEW = 300  # seconds that a token may be from the future


def _invalid() -> ResourceError:
    return ResourceError(401, "InvalidAuthenticationToken", "The access token is invalid.")


def _wrong_tenant(issuer: str, tenant: str) -> ResourceError:
    message = (
        f"The access token is from the wrong issuer '{issuer:.200}'. It must match the tenant "
        f"'{token_issuer(tenant)}' associated with this subscription. Please use the authority (URL) of that tenant to "
        "get the token."
    )
    return ResourceError(401, "InvalidAuthenticationTokenTenant", message)


def _expired(expires: int, now: float) -> ResourceError:
    message = (
        f"The access token expiry UTC time '{_instant(expires)}' is earlier than current UTC time '{_instant(now)}'."
    )
    return ResourceError(401, "ExpiredAuthenticationToken", message)


def _wrong_audience(audience: str, audiences: Collection[str]) -> ResourceError:
    allowed = "','".join(f"{each.rstrip('/')}/" for each in audiences)
    message = (
        f"The access token has been obtained for wrong audience or resource '{audience:.200}'. It should exactly match "
        f"with one of the allowed audiences '{allowed}'."
    )
    return ResourceError(401, "InvalidAuthenticationTokenAudience", message)


def _instant(seconds: float) -> str:
    """Write an instant as .NET does in this message: 11/23/2026 9:05:07 PM."""
    moment = datetime.fromtimestamp(min(max(seconds, 0), 253402300799), UTC)
    clock = f"{moment.hour % 12 or 12}:{moment:%M:%S} {'PM' if moment.hour >= 12 else 'AM'}"
    return f"{moment.month}/{moment.day}/{moment.year} {clock}"
