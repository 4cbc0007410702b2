"""Answers of the metadata service: token documents, refusals, and the variables that point a workload here.

Every SDK accepts this form of the token document: numbers are strings (Rust); expires_in (Python, az), expires_on
(Java, Rust, Node) and token_type (Rust) are present; resource is spelled as requested (Node's cache key).
"""

from typing import NamedTuple

from wisp.base.jsontext import to_json


class Refusal(NamedTuple):
    """A request is answered with an error: HTTP status, OAuth error code, and a text for people."""

    status: int
    error: str
    description: str
    allow: str | None = None
    """Value of the Allow header."""


def invalid(description: str) -> Refusal:
    """Refuse a request that can never succeed: SDKs do not retry a 400."""
    return Refusal(400, "invalid_request", description)


class TokenDetails(NamedTuple):
    """What a token document holds besides the token. `expires_on` and `not_before` are Unix seconds."""

    client_id: str
    resource: str
    expires_on: int
    not_before: int


def token_body(access_token: str, details: TokenDetails, lifetime: int) -> bytes:
    """Return the token document; `lifetime` is in seconds from now."""
    document = {
        "access_token": access_token,
        "client_id": details.client_id,
        "expires_in": str(lifetime),
        "expires_on": str(details.expires_on),
        "ext_expires_in": str(lifetime),
        "not_before": str(details.not_before),
        "resource": details.resource,
        "token_type": "Bearer",
    }
    return to_json(document)


def error_body(error: str, description: str, *, app_service_status: int | None = None) -> bytes:
    """Return the body of an error (RFC 6749 §5.2). It is always JSON: some SDKs take plain text for a network fault.

    A client of App Service gets that dialect's fields too: msal for Python shows its user no others.
    """
    document: dict[str, object] = {"error": error, "error_description": description}
    if app_service_status is not None:
        document |= {"statusCode": app_service_status, "message": description}
    return to_json(document)


def endpoint_variables(endpoint: str, header: str) -> dict[str, str]:
    """Return the variables that send an SDK to `endpoint` without a redirect.

    They are those of App Service, in its versions of 2019 and 2017: every Azure SDK reads one of the two pairs.
    """
    return {"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": header, "MSI_ENDPOINT": endpoint, "MSI_SECRET": header}
