"""Answer token requests in Entra's format: tokens (RFC 6749 §5.1) and refusals (§5.2 with Entra's fields). Pure."""

import re
import shlex
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple
from zlib import crc32

import msgspec

from wisp.base.jsontext import to_json
from wisp.base.masking import masked
from wisp.entra.freshness import Token
from wisp.entra.messages import Refused
from wisp.gateway.grants import grant_command
from wisp.gateway.types import Forbidden, Outcome, TokenRefusal, Unauthenticated, Undecided
from wisp.http.messages import JSON, Reject, Response, retry_after

AUDIENCE = "api://AzureADTokenExchange"
"""The audience of the gateway's own token, and so of its federated credentials."""

_NO_STORE = b"Cache-Control: no-store\r\nPragma: no-cache\r\nclient-request-id: "
_REFRESHED = 2 * 60 * 60
"""Seconds: Entra gives refresh_in to tokens that live this long or longer."""
_RENEWAL = 60
"""Seconds that the gateway's own renewal of a token may take until clients ask for it."""
_TRAILER = re.compile(r"Trace ID: ([0-9a-f-]{36})\s+Correlation ID: [0-9a-f-]{36}\s+Timestamp: ([0-9: -]{19}Z)\s*\Z")
"""What ends Entra's texts. It does not begin with white space, which would be tried from every space of a text."""
_ERROR_URI = "https://login.microsoftonline.com/error"
_FEDERATION_CODES = (70025, 700211, 700213)
"""AADSTS codes of a federated credential that is missing or names another issuer or subject."""
_ENTRA_OUTCOMES: dict[str, Outcome] = {"refused": "refused", "throttled": "throttled"}

_encode = msgspec.json.Encoder().encode


class Federation(NamedTuple):
    """What the identities' federated credentials must say: issuer and subject of the gateway's own token."""

    issuer: str
    subject: str


def grant(token: Token, correlation_id: str, *, now: float) -> Response:
    """Return the answer with a token; `now` is on the clock of `token.expires_at`."""
    remaining = max(0, int(token.expires_at - now))
    refresh = b""
    if token.lifetime >= _REFRESHED:
        refresh = b'"refresh_in":%d,' % min(remaining, _refresh_in(token.renew_at - now, correlation_id))
    body = b'{"token_type":"Bearer","expires_in":%d,"ext_expires_in":%d,%b"access_token":%b}' % (
        remaining,
        remaining,
        refresh,
        _encode(token.access_token.reveal()),
    )
    return Response(200, body, JSON, _headers(correlation_id))


def _refresh_in(renewal: float, correlation_id: str) -> int:
    """Return when the client is to ask again: when the gateway has a newer token, due in `renewal` seconds.

    Up to a tenth later, because all callers have the same token and must not come back together. If Entra fails to give
    a newer one, they come back once a minute.
    """
    spread = 1 + int(correlation_id[:4], 16) / 0xFFFF / 10
    return int(max(renewal + _RENEWAL, _RENEWAL) * spread)


def refusal(refused: TokenRefusal, correlation_id: str, *, unix: float) -> Response:
    """Return the answer that there is no token. `unix`: the time, in Unix seconds.

    A text of Entra's keeps the ids of the exchange with Entra, which Azure's support asks for.
    """
    trace_id = request_id = str(uuid.uuid4())
    timestamp, description = f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%SZ}", refused.description
    if (trailer := _TRAILER.search(description)) is None:
        separator = "" if description.endswith("\n") else " "
        description += f"{separator}Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}"
    else:
        trace_id, timestamp = trailer.groups()
    document: dict[str, object] = {
        "error": refused.error,
        "error_description": description,
        "error_codes": [] if refused.code is None else [refused.code],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": _ERROR_URI if refused.code is None else f"{_ERROR_URI}?code={refused.code}",
    }
    if refused.claims is not None:
        document["claims"] = refused.claims
    headers = _headers(correlation_id) + b"x-ms-request-id: %b\r\n" % request_id.encode()
    if refused.status in (429, 503):
        headers += retry_after(refused.retry_after)
    elif refused.status == 405:
        headers += b"Allow: POST\r\n"
    return Response(refused.status, to_json(document), JSON, headers)


def _headers(correlation_id: str) -> bytes:
    """Return the headers of every answer (RFC 6749 §5.1). MSAL looks for its own id of the request."""
    return _NO_STORE + correlation_id.encode() + b"\r\n"


def unauthenticated(authorization: Unauthenticated) -> TokenRefusal:
    """Return the refusal of a caller's token."""
    text = f"wisp gateway: the service account token is not valid here: {authorization.reason}"
    return TokenRefusal("unauthenticated", 401, "invalid_client", text)


def forbidden(authorization: Forbidden, client_id: str) -> TokenRefusal:
    """Return the refusal of a caller that RBAC does not allow to use the identity, with the command that allows it."""
    caller = authorization.caller
    text = f"wisp gateway: {caller.username} may not use the managed identity {client_id}."
    if caller.namespace and caller.service_account:  # without them, the command would allow it to others, too
        with suppress(ValueError):
            command = grant_command(client_id, caller.namespace, caller.service_account)
            text += f" To allow it, run:\n{command}\n"
    return TokenRefusal("forbidden", 401, "invalid_client", text)


def undecided(authorization: Undecided) -> TokenRefusal:
    """Return the refusal while the API server cannot be asked."""
    text = f"wisp gateway: the caller cannot be checked at the moment: {authorization.reason}"
    return TokenRefusal(
        "unavailable", 503, "temporarily_unavailable", text, retry_after=max(1.0, authorization.retry_after)
    )


def not_exchanged(refused: Refused, federation: Federation | None) -> TokenRefusal:
    """Return the refusal for an exchange that failed: Entra's own if Entra refused.

    `federation`: what the gateway's own token says; None if that is not known.
    """
    description = refused.description
    if not description.startswith("AADSTS"):
        description = f"wisp gateway: {description}"
    if refused.aadsts in _FEDERATION_CODES and federation is not None:
        description = _hinted(description, federation)
    outcome = _ENTRA_OUTCOMES.get(refused.cause, "unavailable")
    wait = (refused.retry_after or 1.0) if refused.passing else None
    return TokenRefusal(outcome, refused.status, refused.error, description, refused.aadsts, wait, refused.claims)


def _hinted(description: str, federation: Federation) -> str:
    """Return Entra's text with the command that federates the identity with the gateway, before Entra's ids.

    The credential's name depends on the cluster: `az` would overwrite that of another cluster with the same name.
    """
    issuer, subject = shlex.quote(federation.issuer), shlex.quote(federation.subject)
    hint = (
        " wisp gateway: to federate the identity with this cluster's gateway, run:\n"
        f"az identity federated-credential create --name wisp-gateway-{crc32(federation.issuer.encode()):08x} "
        f"--identity-name IDENTITY --resource-group RESOURCE_GROUP --issuer {issuer} --subject {subject} "
        f"--audiences {AUDIENCE}\n"
    )
    trailer = _TRAILER.search(description)
    end = len(description) if trailer is None else trailer.start()
    return description[:end].rstrip() + hint + description[end:]


def rejected(reject: Reject) -> TokenRefusal:
    """Return the refusal of bytes that are not a request."""
    return TokenRefusal("rejected", reject.status, "invalid_request", f"wisp gateway: {masked(reject.reason)}")


def internal_error() -> TokenRefusal:
    """Return the refusal for an error in the gateway itself, which clients may retry."""
    text = "wisp gateway: an error in the gateway itself; its log says where"
    return TokenRefusal("failed", 500, "server_error", text)
