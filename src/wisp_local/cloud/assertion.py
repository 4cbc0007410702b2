"""Read what a JWT says of itself, without believing any of it; knows no keys and no time.

Shape: RFC 7519 and, for what must be there, RFC 7523 §3. Kubernetes' service account tokens have no `typ`.
"""

import base64
import json
import math
from dataclasses import dataclass

from wisp_local.cloud import refusals
from wisp_local.cloud.refusals import Refused

_TYPES = ("JWT", "http://openid.net/specs/jwt/1.0")
_ALGORITHM = "RS256"


@dataclass(frozen=True)
class Assertion:
    """The claims of an assertion that decide.

    `not_before`, `expires` and `issued_at`, which not every issuer writes, are in Unix seconds.
    """

    key_id: str
    issuer: str
    subject: str
    audience: str
    not_before: float
    expires: float
    issued_at: float | None = None


class _MalformedError(Exception):
    """The text is no JWT that Entra would read on; never leaves this module."""


def read_assertion(text: str) -> Assertion | Refused:
    """Parse the compact form `header.claims.signature`; unsigned and non-RS256 tokens are refused here."""
    try:
        header, claims = _segments(text)
        if (refused := _unfit(header)) is not None:
            return refused
        return _assertion(header, claims)
    except _MalformedError:
        return refusals.malformed_assertion()


def _unfit(header: dict[str, object]) -> Refused | None:
    if "crit" in header or header.get("b64", True) is not True:
        # We understand no extension, so that any `crit` must be refused, and an empty list is not allowed at all
        # (RFC 7515 §4.1.11). Without `b64` the payload would not be the one that was decoded here (RFC 7797 §3, §6).
        raise _MalformedError
    algorithm = _text(header, "alg")
    if algorithm.lower() == "none":
        raise _MalformedError
    if header.get("typ", _TYPES[0]) not in _TYPES:
        return refusals.header_type_not_allowed()
    return None if algorithm == _ALGORITHM else refusals.key_not_usable()


def _assertion(header: dict[str, object], claims: dict[str, object]) -> Assertion:
    return Assertion(
        key_id=_text(header, "kid"),
        issuer=_text(claims, "iss"),
        subject=_text(claims, "sub"),
        audience=_audience(claims),
        not_before=_seconds(claims, "nbf") if "nbf" in claims else 0,
        expires=_seconds(claims, "exp"),
        issued_at=_seconds(claims, "iat") if "iat" in claims else None,
    )


def certificate_thumbprint(text: str, client_id: str) -> str | None:
    """Return the thumbprint, in hexadecimal, of the certificate with which `client_id` signed `text` itself.

    Such an assertion (RFC 7523 §3, private_key_jwt) has the client as its issuer and subject. The result is empty where
    it names no certificate, and None for an assertion of any other issuer.
    """
    try:
        header, claims = _segments(text)
        names = {_text(claims, name).lower() for name in ("iss", "sub")}
    except _MalformedError:
        return None
    if names != {client_id.lower()}:
        return None
    digest = header.get("x5t#S256", header.get("x5t"))
    try:
        return base64.urlsafe_b64decode(f"{digest}==").hex().upper() if isinstance(digest, str) else ""
    except ValueError:
        return ""


def _segments(text: str) -> tuple[dict[str, object], dict[str, object]]:
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise _MalformedError
    return _document(parts[0]), _document(parts[1])


def _document(segment: str) -> dict[str, object]:
    try:
        padded = segment.encode("ascii") + b"=" * (-len(segment) % 4)
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:  # UnicodeError and JSONDecodeError are ValueErrors
        raise _MalformedError from error
    if not isinstance(value, dict):
        raise _MalformedError
    return value


def _text(document: dict[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value or not _encodable(value):
        raise _MalformedError
    return value


def _encodable(value: str) -> bool:
    """Tell whether `value` can be written as UTF-8: JSON may escape half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _audience(claims: dict[str, object]) -> str:
    """Return the one audience: Entra reads a list of one, which is what Kubernetes writes, and no longer list."""
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        return _text({"aud": audience[0]}, "aud")
    return _text(claims, "aud")


def _seconds(claims: dict[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _MalformedError
    if isinstance(value, float) and not math.isfinite(value):
        raise _MalformedError
    return value
