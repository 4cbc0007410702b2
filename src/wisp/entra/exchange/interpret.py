"""Interpret the response of a token endpoint (RFC 6749 §5; Azure, AADSTS error codes).

Whatever comes back, garbage included, becomes a `Granted` or a `Refused`. No text taken from it can hold a token.
"""

import base64
import binascii
import email.utils
import json
import re
from typing import Any

from wisp.base.masking import masked
from wisp.base.secret import Secret
from wisp.entra.messages import Granted, Refused, Result, unavailable

_AADSTS = re.compile(r"AADSTS(\d{4,9})\b", re.ASCII)
_EXAMINED_LIMIT = 16 * 1024
"""Characters of a text that are searched for tokens."""
_TEXT_LIMIT = 4096
_ERROR_LIMIT = 128
_TOKEN_LIMIT = 64 * 1024
_NAME_LIMIT = 1024
_TEMPORARY_ERRORS = ("temporarily_unavailable", "server_error")
"""RFC 6749 §4.1.2.1's names for temporary faults; Entra was seen to send them with status 400 too (AADSTS90033)."""
_LONGEST_LIFETIME = 10 * 366 * 86400


def interpret(status: int, retry_after: str | None, body: bytes, now: float) -> Result:
    """Return what an HTTP response means. `now` is in Unix seconds, for a Retry-After that is a date."""
    wait = seconds_of(retry_after, now)
    document = _object(body)
    if status == 200:
        return _granted(document)
    if status == 429:
        text = _description(document) or "Entra asks for fewer token requests (HTTP 429)"
        return Refused(429, "too_many_requests", text, "throttled", _code(document), wait)
    if 400 <= status < 500 and (error := _text(document.get("error"))) and error not in _TEMPORARY_ERRORS:
        text = _description(document) or f"Entra refused with HTTP {status} and no description"
        error, claims = _masked_and_cut(error, _ERROR_LIMIT), _challenge(document)
        return Refused(_client_status(status, text), error, text, "refused", _code(document), claims=claims)
    detail = _description(document)
    description = f"Entra answered HTTP {status}" + (f": {detail}" if detail else "")
    if status < 500 and not detail:
        description += "; token endpoints do not answer like this: check AZURE_AUTHORITY_HOST and any proxy in between"
    return unavailable(description, retry_after=wait)._replace(aadsts=_code(document))


def claims_of_capabilities(capabilities: str) -> str:
    """Return the claims request (OpenID Connect Core §5.5) with the client's capabilities, such as CP1."""
    values = [name for name in capabilities.split(",") if name]
    return json.dumps({"access_token": {"xms_cc": {"values": values}}})


def seconds_of(retry_after: str | None, now: float) -> float | None:
    """Return a Retry-After header (RFC 9110 §10.2.3: seconds, or an HTTP-date) in seconds from `now`, or None."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):  # what that function was seen to raise over the years
        return None


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a JWT without verifying it; an empty dict if `token` is not one."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        return _object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}


def _client_status(status: int, text: str) -> int:
    """Return the status for the client: a 403 that says "unreachable" makes SDKs give up on managed identity."""
    return status if status == 401 or (status == 403 and "unreachable" not in text.lower()) else 400


def _granted(document: dict[str, Any]) -> Result:
    token, lifetime = _text(document.get("access_token")), _whole(document.get("expires_in"))
    if not token or not _is_token(token) or not lifetime:
        return unavailable("Entra answered HTTP 200 without a usable access_token and expires_in")
    claims = claims_of(token)
    return Granted(
        Secret(token),
        min(lifetime, _LONGEST_LIFETIME),
        _whole(document.get("refresh_in")),
        _whole(claims.get("nbf")),
        _name(claims.get("oid")),
        _name(claims.get("xms_mirid")),
    )


def _is_token(text: str) -> bool:
    """Return whether `text` has the characters of an access token (RFC 6749 appendix A.12) and a size we can return."""
    return text.isascii() and text.isprintable() and len(text) <= _TOKEN_LIMIT


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _whole(value: object) -> int | None:
    """Return a whole number that came as a number or as a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15:
        return int(value)
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _NAME_LIMIT else None


def _challenge(document: dict[str, Any]) -> str | None:
    """Return the claims that Entra demands of the client, unless they are too long to be passed on."""
    claims = _text(document.get("claims"))
    return masked(claims) if claims and len(claims) <= _TEXT_LIMIT else None


def _description(document: dict[str, Any]) -> str:
    return _masked_and_cut(_text(document.get("error_description")) or "", _TEXT_LIMIT)


def _masked_and_cut(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, without tokens; what is cut off is not examined."""
    return masked(text[:_EXAMINED_LIMIT], cut=len(text) > _EXAMINED_LIMIT)[:limit]


def _code(document: dict[str, Any]) -> int | None:
    codes = document.get("error_codes")
    if isinstance(codes, list) and codes and type(codes[0]) is int and 0 < codes[0] < 10**9:
        return codes[0]
    match = _AADSTS.search(_description(document))
    return int(match[1]) if match else None
