"""Read a token request's form into what it asks for; knows neither who exists nor what time it is.

RFC 6749 §4.4.2 (client credentials) with the client authentication of RFC 7523 §2.2, and Entra's `scope` and `claims`.
"""

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wisp.base.secret import Secret
from wisp_local.cloud.entra import refusals
from wisp_local.cloud.entra.audiences import is_resource
from wisp_local.cloud.entra.refusals import Refused

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CAPABILITY = re.compile(r"[A-Za-z0-9]{1,16}")
_DEFAULT = "/.default"
_OPENID = frozenset({"openid", "profile", "offline_access", "email"})  # SDKs add these; they name no resource


@dataclass(frozen=True)
class FederatedAssertion:
    """A token of an issuer that the client's federated credentials may name."""

    token: Secret


@dataclass(frozen=True)
class ClientSecret:
    """A shared secret (RFC 6749 §2.3.1), which applications have and managed identities do not."""

    value: Secret


@dataclass(frozen=True)
class TokenRequest:
    """A client that asks for a token for `audience` and shows a `proof`; `capabilities` are its xms_cc values."""

    client_id: str
    audience: str
    proof: FederatedAssertion | ClientSecret
    capabilities: tuple[str, ...] = ()


def read_token_request(pairs: Iterable[tuple[str, str]]) -> TokenRequest | Refused:
    """Turn the form's name and value pairs into a request, or into the refusal that Entra would give."""
    form = _once_each(pairs)
    if isinstance(form, Refused):
        return form
    refused = _form_refusal(form)
    if refused is not None:
        return refused
    audience, capabilities = _scope_audience(form["scope"]), _capabilities(form.get("claims", ""))
    if isinstance(audience, Refused):
        return audience
    if capabilities is None:
        return refusals.request_malformed()
    return TokenRequest(form["client_id"], audience, _proof(form), capabilities)


def _proof(form: Mapping[str, str]) -> FederatedAssertion | ClientSecret:
    if "client_assertion" in form:
        return FederatedAssertion(Secret(form["client_assertion"]))
    return ClientSecret(Secret(form["client_secret"]))


def _once_each(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str] | Refused:
    """Give the parameters by name; an empty one is as good as absent, a repeated one an error (RFC 6749 §3.2)."""
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            return refusals.request_malformed()
        if value:
            form[name] = value
    return form


def _form_refusal(form: Mapping[str, str]) -> Refused | None:
    for name in ("grant_type", "client_id", "scope"):
        if name not in form:
            return refusals.parameter_missing([name])
    if form["grant_type"] != "client_credentials":
        return refusals.grant_not_supported(form["grant_type"])
    if "client_assertion" not in form:
        return None if "client_secret" in form else _no_proof(form)
    if "client_assertion_type" not in form:
        return refusals.parameter_missing(["client_assertion_type"])
    return None if form["client_assertion_type"] == ASSERTION_TYPE else refusals.request_malformed()


def _no_proof(form: Mapping[str, str]) -> Refused:
    """Name what is missing: the assertion, where its type is announced."""
    if "client_assertion_type" in form:
        return refusals.parameter_missing(["client_assertion"])
    return refusals.credential_missing()


def audience_of(scope: str) -> str | None:
    """Return the resource that `scope` names: all before the last `/.default`, slashes and all; None when malformed."""
    audience = _scope_audience(scope)
    return None if isinstance(audience, Refused) else audience


def _scope_audience(scope: str) -> str | Refused:
    resources = [each for each in scope.split() if each not in _OPENID]
    if not resources or not all(each.endswith(_DEFAULT) for each in resources):
        return refusals.scope_without_default(scope)
    if len(resources) > 1:
        return refusals.several_resources(scope)
    audience = resources[0].removesuffix(_DEFAULT)
    return audience if is_resource(audience) else refusals.scope_malformed(scope)


def _capabilities(claims: str) -> tuple[str, ...] | None:
    """Read `{"access_token": {"xms_cc": {"values": [...]}}}` (OpenID Connect Core §5.5); None when it is not JSON."""
    if not claims:
        return ()
    try:
        document = json.loads(claims)
    except (ValueError, RecursionError):
        return None
    return tuple(each for each in _capability_values(document) if isinstance(each, str) and _CAPABILITY.fullmatch(each))


def _capability_values(document: object) -> list[object]:
    for name in ("access_token", "xms_cc", "values"):
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, list) else []


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
        if (refused := _header_refusal(header)) is not None:
            return refused
        return _assertion(header, claims)
    except _MalformedError:
        return refusals.malformed_assertion()


def _header_refusal(header: dict[str, object]) -> Refused | None:
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
        audience=_claimed_audience(claims),
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


def _claimed_audience(claims: dict[str, object]) -> str:
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
