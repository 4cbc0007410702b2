"""Read a caller's service account token before the API server is asked about it. Pure; no signature is verified here.

What is not a token for this gateway causes no review, and no review's result is used after its token has expired.
"""

import binascii
from hashlib import sha256
from typing import NamedTuple

import msgspec

from wisp.base.secret import Secret
from wisp.gateway.quoting import quotable
from wisp.gateway.types import Unauthenticated

_EARLY = 60.0
"""Seconds by which a token may be used before it is valid, because clocks differ. API servers allow the same."""


class Examined(NamedTuple):
    """What is known of a token before a review. `expires_at`: Unix seconds; `digest`: its SHA-256."""

    expires_at: float
    digest: bytes


class _Claims(msgspec.Struct):
    """The registered claims (RFC 7519 §4.1) that are looked at."""

    exp: float
    aud: str | list[str] = ""
    nbf: float = 0.0
    iss: str = ""
    sub: str = ""


_decode = msgspec.json.Decoder(_Claims).decode


def digest_of(assertion: Secret) -> bytes:
    """Return the SHA-256 of a token, by which caches know it."""
    return sha256(assertion.reveal().encode()).digest()


def examine(assertion: Secret, audience: str, now: float) -> Examined | Unauthenticated:
    """Return when the token expires, or why it cannot be valid for `audience` at `now` (Unix seconds)."""
    claims = _claims(assertion)
    if claims is None:
        return Unauthenticated("it is not a JSON Web Token with an expiry")
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if audience not in audiences:
        found = ", ".join(quotable(name) or "empty" for name in audiences[:2]) or "missing"
        return Unauthenticated(f"its audience is {found}, but must be {audience}")
    if now >= claims.exp:
        return Unauthenticated(f"it expired {_ago(now - claims.exp)} ago")
    if now < claims.nbf - _EARLY:
        return Unauthenticated(f"it is valid only in {_ago(claims.nbf - now)}; the clocks of the nodes differ")
    return Examined(claims.exp, digest_of(assertion))


def issuer_and_subject(assertion: Secret) -> tuple[str, str] | None:
    """Return who issued a token and for whom, or None if it is not a token."""
    claims = _claims(assertion)
    return None if claims is None or not claims.iss or not claims.sub else (claims.iss, claims.sub)


def _claims(assertion: Secret) -> _Claims | None:
    parts = assertion.reveal().split(".", 3)
    if len(parts) != 3 or not all(parts):
        return None
    try:
        encoded = parts[1].encode("ascii").translate(_STANDARD_ALPHABET)
        return _decode(binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4), strict_mode=True))
    except (ValueError, RecursionError):  # binascii's, msgspec's and Unicode's errors are ValueErrors
        return None


_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s"
