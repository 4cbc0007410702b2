"""Writes what the metadata service answers. Knows no socket and no clock.

The shape of a token answer is the one that every SDK takes: numbers are strings (Rust), expires_in is there (Python,
az) and so are expires_on (Java, Rust, Node) and token_type (Rust), and resource is spelled as asked (Node's cache).
"""

from typing import NamedTuple

from wisp.base.jsontext import to_json


class Grant(NamedTuple):
    """What a token answer says besides the token. `expires_on` and `not_before` are Unix seconds."""

    client_id: str
    resource: str
    expires_on: int
    not_before: int


def token_frame(access_token: str, grant: Grant) -> tuple[bytes, bytes, bytes]:
    """Return the three pieces of the answer's body between which the remaining lifetime in seconds goes, twice."""
    first = to_json({"access_token": access_token, "client_id": grant.client_id})
    last = to_json({"not_before": str(grant.not_before), "resource": grant.resource, "token_type": "Bearer"})
    return (
        first[:-1] + b',"expires_in":"',
        b'","expires_on":"%d","ext_expires_in":"' % grant.expires_on,
        b'",' + last[1:],
    )


def error_body(error: str, description: str) -> bytes:
    """Return an error's body (RFC 6749 §5.2), in JSON always: plain text reads as a network fault to some SDKs."""
    return to_json({"error": error, "error_description": description})


def app_service_error_body(status: int, error: str, description: str) -> bytes:
    """Return an error's body with App Service's own fields too: msal for Python tells its user of no others."""
    document = {"error": error, "error_description": description, "statusCode": status, "message": description}
    return to_json(document)
