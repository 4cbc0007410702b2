"""Read a token request: its form, and the claims of the assertion in it, without believing any of them.

RFC 6749 §4.4.2 (client credentials) with the client authentication of RFC 7523 §2.2, and Entra's `scope` and `claims`.
An assertion is a JWT (RFC 7519) with the claims of RFC 7523 §3; Kubernetes' service account tokens have no `typ`.
"""

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wisp.base.secret import Secret
from wisp_local.cloud.entra.audiences import is_resource
from wisp_local.cloud.entra.refusals import Refused, refuse

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CAPABILITY = re.compile(r"[A-Za-z0-9]{1,16}")
_DEFAULT = "/.default"
_OPENID = frozenset({"openid", "profile", "offline_access", "email"})  # SDKs add these; they name no resource
_TYPES = ("JWT", "http://openid.net/specs/jwt/1.0")
_ALGORITHM = "RS256"


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


class _RefusedError(Exception):
    """Ends reading with a refusal; never leaves this module."""

    def __init__(self, name: str, /, **values: str) -> None:
        self.refused = refuse(name, **values)
        super().__init__(name)


def read_token_request(pairs: Iterable[tuple[str, str]]) -> TokenRequest | Refused:
    """Turn the form's name and value pairs into a request, or into the refusal that Entra would give."""
    try:
        form = _form(pairs)
        proof, audience = _proof(form), _scope_audience(form["scope"])
        return TokenRequest(form["client_id"], audience, proof, _capabilities(form.get("claims", "")))
    except _RefusedError as error:
        return error.refused


def _form(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return the parameters by name; an empty one is as good as absent, a repeated one an error (RFC 6749 §3.2)."""
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            raise _RefusedError("request_malformed")
        if value:
            form[name] = value
    for name in ("grant_type", "client_id", "scope"):
        if name not in form:
            raise _RefusedError("parameter_missing", name=name)
    if form["grant_type"] != "client_credentials":
        raise _RefusedError("grant_not_supported", grant=form["grant_type"])
    return form


def _proof(form: Mapping[str, str]) -> FederatedAssertion | ClientSecret:
    if "client_assertion" not in form:
        if "client_secret" in form:
            return ClientSecret(Secret(form["client_secret"]))
        if "client_assertion_type" in form:
            raise _RefusedError("parameter_missing", name="client_assertion")
        raise _RefusedError("credential_missing")
    if "client_assertion_type" not in form:
        raise _RefusedError("parameter_missing", name="client_assertion_type")
    if form["client_assertion_type"] != ASSERTION_TYPE:
        raise _RefusedError("request_malformed")
    return FederatedAssertion(Secret(form["client_assertion"]))


def audience_of(scope: str) -> str | None:
    """Return the resource that `scope` names: all before the last `/.default`, slashes and all; None when malformed."""
    try:
        return _scope_audience(scope)
    except _RefusedError:
        return None


def _scope_audience(scope: str) -> str:
    resources = [value for value in scope.split() if value not in _OPENID]
    if not resources or not all(value.endswith(_DEFAULT) for value in resources):
        raise _RefusedError("scope_without_default", scope=scope)
    if len(resources) > 1:
        raise _RefusedError("several_resources", scope=scope)
    audience = resources[0].removesuffix(_DEFAULT)
    if not is_resource(audience):
        raise _RefusedError("scope_malformed", scope=scope)
    return audience


def _capabilities(claims: str) -> tuple[str, ...]:
    """Read `{"access_token": {"xms_cc": {"values": [...]}}}` (OpenID Connect Core §5.5)."""
    try:
        document = json.loads(claims) if claims else None
    except (ValueError, RecursionError) as error:
        raise _RefusedError("request_malformed") from error
    for name in ("access_token", "xms_cc", "values"):
        document = document.get(name) if isinstance(document, dict) else None
    values = document if isinstance(document, list) else []
    return tuple(value for value in values if isinstance(value, str) and _CAPABILITY.fullmatch(value))


def read_assertion(text: str) -> Assertion | Refused:
    """Parse the compact form `header.claims.signature`; unsigned and non-RS256 tokens are refused here."""
    try:
        header, claims = _segments(text)
        _check_header(header)
        return Assertion(
            key_id=_text(header, "kid"),
            issuer=_text(claims, "iss"),
            subject=_text(claims, "sub"),
            audience=_audience(claims),
            not_before=_seconds(claims, "nbf") if "nbf" in claims else 0,
            expires=_seconds(claims, "exp"),
            issued_at=_seconds(claims, "iat") if "iat" in claims else None,
        )
    except _RefusedError as error:
        return error.refused


def certificate_thumbprint(text: str, client_id: str) -> str | None:
    """Return the thumbprint, in hexadecimal, of the certificate with which `client_id` signed `text` itself.

    Such an assertion (RFC 7523 §3, private_key_jwt) has the client as its issuer and subject. The result is empty where
    it names no certificate, and None for an assertion of any other issuer.
    """
    try:
        header, claims = _segments(text)
        names = {_text(claims, name).lower() for name in ("iss", "sub")}
    except _RefusedError:
        return None
    if names != {client_id.lower()}:
        return None
    digest = header.get("x5t#S256", header.get("x5t"))
    try:
        return base64.urlsafe_b64decode(f"{digest}==").hex().upper() if isinstance(digest, str) else ""
    except ValueError:
        return ""


def _check_header(header: dict[str, object]) -> None:
    if "crit" in header or header.get("b64", True) is not True:
        # No extension is understood here, so that any `crit` must be refused, and an empty list is not allowed at all
        # (RFC 7515 §4.1.11). Without `b64` the payload would not be the one that was decoded here (RFC 7797 §3, §6).
        raise _RefusedError("malformed_assertion")
    algorithm = _text(header, "alg")
    if algorithm.lower() == "none":
        raise _RefusedError("malformed_assertion")
    if header.get("typ", _TYPES[0]) not in _TYPES:
        raise _RefusedError("header_type_not_allowed")
    if algorithm != _ALGORITHM:
        raise _RefusedError("key_not_usable")


def _segments(text: str) -> tuple[dict[str, object], dict[str, object]]:
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise _RefusedError("malformed_assertion")
    return _document(parts[0]), _document(parts[1])


def _document(segment: str) -> dict[str, object]:
    try:
        padded = segment.encode("ascii") + b"=" * (-len(segment) % 4)
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:  # UnicodeError and JSONDecodeError are ValueErrors
        raise _RefusedError("malformed_assertion") from error
    if not isinstance(value, dict):
        raise _RefusedError("malformed_assertion")
    return value


def _text(document: dict[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise _RefusedError("malformed_assertion")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON may escape half a surrogate pair
        raise _RefusedError("malformed_assertion") from error
    return value


def _audience(claims: dict[str, object]) -> str:
    """Return the one audience: Entra reads a list of one, which is what Kubernetes writes, and no longer list."""
    audience = claims.get("aud")
    return _text({"aud": audience[0]} if isinstance(audience, list) and len(audience) == 1 else claims, "aud")


def _seconds(claims: dict[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _RefusedError("malformed_assertion")
    if isinstance(value, float) and not math.isfinite(value):
        raise _RefusedError("malformed_assertion")
    return value
