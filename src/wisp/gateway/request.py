"""Read a token request: the POST that an Azure SDK would otherwise send to Entra. Pure but for random numbers.

RFC 6749 §4.4.2 (client credentials) with the client authentication of RFC 7523 §2.2 and Entra's `scope` and `claims`.
Parameters that do not change the token, such as MSAL's `client_info` and `x-client-SKU`, are not looked at.
"""

import uuid
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from wisp.azure import is_guid, is_tenant
from wisp.base.secret import Secret
from wisp.gateway.types import Outcome, TokenForm, TokenRefusal
from wisp.http.messages import Request

FORM_LIMIT = 64 * 1024
"""Bytes of a body. Usual ones have 1,600."""
_FIELDS_LIMIT = 32
_ASSERTION_LIMIT = 16 * 1024
_CLAIMS_LIMIT = 4 * 1024
_SCOPE_LIMIT = 1024
_QUOTED_LIMIT = 100
"""Characters of a client's text that a refusal repeats."""

_FORM = b"application/x-www-form-urlencoded"
_PATH_END = b"/oauth2/v2.0/token"
_ASSERTION_TYPE = b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEFAULT = "/.default"
_OPENID = frozenset({"openid", "profile", "offline_access", "email"})
"""Scopes that MSAL for Java adds. They name no resource."""
_JSON = msgspec.json.Decoder(dict)


class Rules(NamedTuple):
    """What token requests may ask for. `tenants` are in lower case."""

    tenants: frozenset[str]


class _RefusedError(Exception):
    """Ends reading with a refusal; never leaves this module."""

    def __init__(self, refusal: TokenRefusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.description)


def read_request(request: Request, rules: Rules) -> TokenForm | TokenRefusal:
    """Return the form of a token request, or why it is refused: as Entra refuses it where Entra would."""
    try:
        tenant = _tenant(request, rules)
        form = _form(request)
        return _token_form(form, tenant, request)
    except _RefusedError as error:
        return error.refusal


def correlation_of(request: Request) -> str:
    """Return the client's own request id if it sent a UUID, in a header or in the form; otherwise a new one."""
    known = _uuid(request.header(b"client-request-id"))
    if known is None:
        _, found, rest = request.body.partition(b"client-request-id=")
        known = _uuid(rest[:36]) if found and rest[36:37] in (b"", b"&") else None
    return str(uuid.uuid4()) if known is None else known


def _uuid(value: bytes | None) -> str | None:
    if value is None or len(value) != 36:
        return None
    text = value.decode("latin-1").lower()
    return text if is_guid(text) else None


def _tenant(request: Request, rules: Rules) -> str:
    path = request.target.partition(b"?")[0]
    if not path.endswith(_PATH_END) or path.count(b"/") != 4:
        raise _own("POST /TENANT/oauth2/v2.0/token is all that is served", status=404)
    if request.method != b"POST":
        method = _quotable(request.method)
        raise _refused(900561, f"The endpoint only accepts POST requests. Received a {method} request.", status=405)
    name = path[1 : -len(_PATH_END)].decode("latin-1")
    tenant = name.lower()
    if tenant in rules.tenants:
        return tenant
    name = _quotable(name)
    if not is_tenant(name):
        raise _refused(
            900023, f"Specified tenant identifier '{name}' is neither a valid DNS name, nor a valid external domain."
        )
    raise _refused(
        90002,
        f"Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. wisp gateway: it serves only the tenants that its option --tenant names.",
    )


def _form(request: Request) -> dict[bytes, bytes]:
    """Return the fields that are not empty. A field that is given twice is an error (RFC 6749 §3.2)."""
    body = request.body
    if len(body) > FORM_LIMIT:
        raise _own(f"the request body is larger than {FORM_LIMIT} bytes", status=413)
    content_type = request.header(b"content-type")
    if content_type != _FORM and (content_type or b"").partition(b";")[0].strip().lower() != _FORM:
        raise _missing("grant_type", f" wisp gateway: only a body of the type {_FORM.decode()} is read.")
    form: dict[bytes, bytes] = {}
    fields = body.split(b"&", _FIELDS_LIMIT)
    if len(fields) > _FIELDS_LIMIT:
        raise _malformed(f"the form has more than {_FIELDS_LIMIT} fields")
    for field in fields:
        name, _, value = field.partition(b"=")
        if b"%" in name or b"+" in name:
            name = _unquoted(name)
        if name in form:
            raise _malformed("a field is given twice")
        form[name] = _unquoted(value) if b"%" in value or b"+" in value else value
    return form


def _unquoted(value: bytes) -> bytes:
    return unquote_to_bytes(value.replace(b"+", b" "))


def _token_form(form: dict[bytes, bytes], tenant: str, request: Request) -> TokenForm:
    grant_type, client_id, scope = (_parameter(form, name) for name in ("grant_type", "client_id", "scope"))
    if grant_type != b"client_credentials":
        raise _refused(
            70003,
            f"The app requested an unsupported grant type '{_quotable(grant_type)}'.",
            error="unsupported_grant_type",
        )
    client = client_id.decode("latin-1").lower()
    if not is_guid(client):
        raise _refused(
            700016,
            f"Application with identifier '{_quotable(client_id)}' was not found in the directory '{tenant}'. "
            "wisp gateway: the client id is not a GUID.",
            error="unauthorized_client",
        )
    resource = _resource_scope(scope)
    assertion = _assertion(form)
    return TokenForm(tenant, client, resource, _claims(form), assertion, correlation_of(request))


def _parameter(form: dict[bytes, bytes], name: str) -> bytes:
    value = form.get(name.encode())
    if not value:
        raise _missing(name)
    return value


def _assertion(form: dict[bytes, bytes]) -> Secret:
    assertion = form.get(b"client_assertion")
    if not assertion:
        if form.get(b"client_assertion_type"):
            raise _missing("client_assertion")
        raise _refused(
            7000218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'. "
            "wisp gateway: it accepts a service account token as client_assertion, and no secret.",
            error="invalid_client",
        )
    if _parameter(form, "client_assertion_type") != _ASSERTION_TYPE:
        raise _malformed(f"client_assertion_type is not {_ASSERTION_TYPE.decode()}")
    if len(assertion) > _ASSERTION_LIMIT:
        raise _own(f"client_assertion is longer than {_ASSERTION_LIMIT} bytes")
    if not assertion.isascii():
        raise _refused(50027, "JWT token is invalid or malformed.", error="invalid_client")
    return Secret(assertion.decode("ascii"))


def _resource_scope(scope: bytes) -> str:
    """Return the one scope that names a resource."""
    if len(scope) > _SCOPE_LIMIT:
        raise _own(f"scope is longer than {_SCOPE_LIMIT} bytes", error="invalid_scope")
    scopes = [name for name in scope.decode("latin-1").split() if name not in _OPENID]
    if not scopes or not all(name.endswith(_DEFAULT) for name in scopes):
        raise _refused(
            1002012,
            f"The provided value for scope {_quotable(scope)} is not valid. Client credential flows must have a scope "
            "value with /.default suffixed to the resource identifier (application ID URI).",
            error="invalid_scope",
        )
    if len(scopes) > 1 or scopes[0] == _DEFAULT or not _is_scope(scopes[0]):
        raise _refused(
            70011,
            "The provided request must include a 'scope' input parameter. The provided value for the input parameter "
            f"'scope' is not valid. The scope {_quotable(scope)} is not valid.",
            error="invalid_scope",
        )
    return scopes[0]


def _is_scope(text: str) -> bool:
    r"""Return whether `text` has the characters of a scope: printable ASCII without " and \ (RFC 6749 §3.3)."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _claims(form: dict[bytes, bytes]) -> str:
    """Return the claims request (OpenID Connect Core §5.5) as it was sent, or nothing."""
    claims = form.get(b"claims")
    if not claims:
        return ""
    if len(claims) > _CLAIMS_LIMIT:
        raise _own(f"claims is longer than {_CLAIMS_LIMIT} bytes")
    try:
        _JSON.decode(claims)
        return claims.decode()
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise _malformed("claims is not a JSON object") from None


def _refused(code: int, text: str, *, error: str = "invalid_request", status: int | None = None) -> _RefusedError:
    """Return a refusal that Entra would give for the same reason; invalid_client is answered with 401."""
    if status is None:
        status = 401 if error == "invalid_client" else 400
    outcome: Outcome = "unauthenticated" if status == 401 else "invalid_request"
    return _RefusedError(TokenRefusal(outcome, status, error, f"AADSTS{code}: {text}", code))


def _own(text: str, *, error: str = "invalid_request", status: int = 400) -> _RefusedError:
    return _RefusedError(TokenRefusal("invalid_request", status, error, f"wisp gateway: {text}"))


def _missing(name: str, hint: str = "") -> _RefusedError:
    return _refused(900144, f"The request body must contain the following parameter: '{name}'.{hint}")


def _malformed(why: str) -> _RefusedError:
    return _refused(9002313, f"Invalid request. Request is malformed or invalid. wisp gateway: {why}.")


def _quotable(text: str | bytes) -> str:
    """Return a client's text for a refusal that repeats it: cut, and without characters that a terminal obeys."""
    if isinstance(text, bytes):
        text = text[: 4 * _QUOTED_LIMIT].decode("ascii", "replace")
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:_QUOTED_LIMIT])
