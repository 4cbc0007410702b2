"""Decide whether an access token gives access to Resource Manager.

Only tokens of this cloud's own Entra do: issued for its tenant, for this audience, and currently valid. Roles are
checked later, by the requests that need one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.entra.claims import token_issuer

_SKEW = 300  # seconds that a token may be from the future


@dataclass(frozen=True)
class Caller:
    """The client id and the principal (object) id in the token."""

    client_id: str
    principal_id: str


@dataclass(frozen=True)
class UnreadableToken:
    """A token that is not a JWT."""


@dataclass(frozen=True)
class ReadToken:
    """The claims of a token, and whether one of this cloud's keys signed it."""

    claims: Mapping[str, object]
    verified: bool


def admit(token: ReadToken | UnreadableToken | None, *, tenant: str, audiences: Collection[str], now: float) -> Caller:
    """Return the caller, or raise the `ResourceError` (401) that Azure gives; `now` is in Unix seconds."""
    match token:
        case None:
            message = "Authentication failed. The 'Authorization' header is missing."
            raise ResourceError(401, "AuthenticationFailed", message)
        case UnreadableToken():
            raise _invalid()
        case ReadToken():
            return _caller(token, tenant, audiences, now)
        case _:
            assert_never(token)


def _caller(token: ReadToken, tenant: str, audiences: Collection[str], now: float) -> Caller:
    claims = token.claims
    if claims.get("iss") != token_issuer(tenant):
        message = (
            f"The access token is from the wrong issuer '{claims.get('iss')!s:.200}'. It must match the tenant "
            f"'{token_issuer(tenant)}' associated with this subscription. Please use the authority (URL) of that "
            "tenant to get the token."
        )
        raise ResourceError(401, "InvalidAuthenticationTokenTenant", message)
    expires, not_before = claims.get("exp"), claims.get("nbf")
    if not token.verified or not isinstance(expires, int) or not isinstance(not_before, int):
        raise _invalid()
    if now >= expires:
        message = (
            f"The access token expiry UTC time '{_dotnet_time(expires)}' is earlier than current UTC time "
            f"'{_dotnet_time(now)}'."
        )
        raise ResourceError(401, "ExpiredAuthenticationToken", message)
    if now < not_before - _SKEW:
        raise _invalid()
    audience = str(claims.get("aud"))
    if audience.rstrip("/").lower() not in {allowed.rstrip("/").lower() for allowed in audiences}:
        allowed = "','".join(f"{allowed.rstrip('/')}/" for allowed in audiences)
        message = (
            f"The access token has been obtained for wrong audience or resource '{audience:.200}'. It should exactly "
            f"match with one of the allowed audiences '{allowed}'."
        )
        raise ResourceError(401, "InvalidAuthenticationTokenAudience", message)
    return Caller(str(claims.get("appid")), str(claims.get("oid")))


def _invalid() -> ResourceError:
    return ResourceError(401, "InvalidAuthenticationToken", "The access token is invalid.")


def _dotnet_time(seconds: float) -> str:
    """Format a time as .NET does in this message: 11/23/2026 9:05:07 PM."""
    moment = datetime.fromtimestamp(min(max(seconds, 0), 253402300799), UTC)
    clock = f"{moment.hour % 12 or 12}:{moment:%M:%S} {'PM' if moment.hour >= 12 else 'AM'}"
    return f"{moment.month}/{moment.day}/{moment.year} {clock}"
