"""Read a token request's form into what it asks for; knows neither who exists nor what time it is.

RFC 6749 §4.4.2 (client credentials) with the client authentication of RFC 7523 §2.2, and Entra's `scope` and `claims`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wisp.base.secret import Secret
from wisp_local.cloud import refusals
from wisp_local.cloud.names import is_resource
from wisp_local.cloud.refusals import Refused

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
    refused = _unfit(form)
    if refused is not None:
        return refused
    audience, capabilities = _audience(form["scope"]), _capabilities(form.get("claims", ""))
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


def _unfit(form: Mapping[str, str]) -> Refused | None:
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
    audience = _audience(scope)
    return None if isinstance(audience, Refused) else audience


def _audience(scope: str) -> str | Refused:
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
    return tuple(each for each in _values(document) if isinstance(each, str) and _CAPABILITY.fullmatch(each))


def _values(document: object) -> list[object]:
    for name in ("access_token", "xms_cc", "values"):
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, list) else []
