"""Read a token request: the POST that an Azure SDK would otherwise send to Entra. Pure but for random numbers.

RFC 6749 §4.4.2 (client credentials) with the client authentication of RFC 7523 §2.2 and Entra's `scope` and `claims`.
Other parameters, such as MSAL's `client_info` and `x-client-SKU`, are ignored (RFC 6749 §3.2).
"""

import re
import uuid
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from wisp.azure import is_guid, is_tenant
from wisp.base.secret import Secret
from wisp.gateway.quoting import quotable
from wisp.gateway.types import Outcome, TokenForm, TokenRefusal
from wisp.http.messages import Request

FORM_LIMIT = 64 * 1024
"""Bytes of a body. Usual ones have 1,600."""
_FIELDS_LIMIT = 32
_ASSERTION_LIMIT = 16 * 1024
_SCOPE_LIMIT = 1024
_CLAIMS_LIMIT = 4 * 1024

_FORM_TYPE = b"application/x-www-form-urlencoded"
_PATH_END = b"/oauth2/v2.0/token"
_ASSERTION_TYPE = b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_QUOTED_ASSERTION_TYPE = _ASSERTION_TYPE.replace(b":", b"%3A")
"""As all SDKs send it: decoding it would take a sixth of the time for a whole request."""
_DEFAULT = "/.default"
_OPENID = ("openid", "profile", "offline_access", "email")
"""Scopes that name no resource. MSAL for Go and for Java add the first three to every request."""
ANY_TENANT = ("common", "organizations", "consumers")
"""Names in place of a tenant's, for users that sign in."""

Fields: TypeAlias = Mapping[bytes, bytes]
"""The fields of a form or a head, by name."""
_UUID = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_claims_decoder = msgspec.json.Decoder(dict)


class Rules(NamedTuple):
    """What token requests can be for: identities of `tenants`, in lower case."""

    tenants: frozenset[str]


class _RefusedError(Exception):
    """Ends reading with a refusal; never leaves this module."""

    def __init__(self, refusal: TokenRefusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.description)


def read_request(request: Request, rules: Rules) -> TokenForm | TokenRefusal:
    """Return the form of a token request, or why it is refused: where Entra would, with its code and text."""
    try:
        tenant = _tenant(request, rules)
        headers = dict(request.headers)
        form = _form(headers, request.body)
        token_form = _token_form(form, tenant, correlation_in(headers, request.body))
    except _RefusedError as error:
        return error.refusal
    return token_form._replace(renew=True) if asks_for_new_token(headers) else token_form


def asks_for_new_token(headers: Fields) -> bool:
    """Tell whether a token newer than the cached one is requested (Cache-Control, RFC 9111 §5.2.1.4).

    wisp's sidecar does so when its client reports a token that a resource has rejected.
    """
    return headers.get(b"cache-control") == b"no-cache"


def correlation_of(request: Request) -> str:
    """Return the client's own id of the request if it is a UUID, otherwise a new one."""
    return correlation_in(dict(request.headers), request.body)


def correlation_in(headers: Fields, body: bytes) -> str:
    """Return the client's own id of the request if it is a UUID, otherwise a new one.

    It is in MSAL's header, in the form (MSAL for JavaScript), or in azure-core's header (Python).
    """
    known = _uuid(headers.get(b"client-request-id"))
    if known is None:
        _, _, rest = body.partition(b"client-request-id=")
        known = _uuid(rest.partition(b"&")[0]) or _uuid(headers.get(b"x-ms-client-request-id"))
    return known or str(uuid.uuid4())


def _uuid(value: bytes | None) -> str | None:
    return None if value is None or _UUID.fullmatch(value) is None else value.decode("ascii").lower()


def _tenant(request: Request, rules: Rules) -> str:
    path = request.target.partition(b"?")[0]
    if not path.endswith(_PATH_END) or path.count(b"/") != 4:
        raise _own("only POST /TENANT/oauth2/v2.0/token is served here", status=404)
    if request.method != b"POST":
        method = quotable(request.method)
        raise _refused(900561, f"The endpoint only accepts POST requests. Received a {method} request.", status=405)
    name = path[1 : -len(_PATH_END)].decode("latin-1")
    tenant = name.lower()
    if tenant in rules.tenants:
        return tenant
    quoted = quotable(name)
    is_domain = is_tenant(name) and "." in name.rstrip(".")
    if not is_domain and not is_guid(name) and tenant not in ANY_TENANT:
        text = f"Specified tenant identifier '{quoted}' is neither a valid DNS name, nor a valid external domain."
        raise _refused(900023, text)
    raise _refused(
        90002,
        f"Tenant '{quoted}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant. wisp gateway: it serves the tenants that its option --tenant names.",
    )


def _form(headers: Fields, body: bytes) -> Fields:
    """Return the fields, both names and values as they were sent: no parameter of OAuth has a name to be escaped.

    Entra ignores a body of another type, so that its first complaint is grant_type.
    """
    content_type = headers.get(b"content-type", b"")
    if content_type != _FORM_TYPE and content_type.partition(b";")[0].strip().lower() != _FORM_TYPE:
        raise _missing("grant_type", f" wisp gateway: only a body of the type {_FORM_TYPE.decode()} is read.")
    if len(body) > FORM_LIMIT:
        raise _own(f"the body is larger than {FORM_LIMIT} bytes", status=413)
    fields = body.split(b"&", _FIELDS_LIMIT)
    if len(fields) > _FIELDS_LIMIT:
        raise _malformed(f"the form has more than {_FIELDS_LIMIT} fields")
    pairs = [field.partition(b"=") for field in fields]
    form = {name: value for name, _, value in pairs}
    if len(form) < len(pairs):  # RFC 6749 §3.2
        raise _malformed("the form has a field twice")
    return form


def _value(form: Fields, name: bytes) -> bytes:
    """Return the value of a field, or nothing. An empty one counts as absent (RFC 6749 §3.1)."""
    value = form.get(name, b"")
    return unquote_to_bytes(value.replace(b"+", b" ")) if b"%" in value or b"+" in value else value


def _required(form: Fields, name: bytes) -> bytes:
    value = _value(form, name)
    if not value:
        raise _missing(name.decode())
    return value


def _token_form(form: Fields, tenant: str, correlation_id: str) -> TokenForm:
    grant_type, client_id = _required(form, b"grant_type"), _required(form, b"client_id")
    scope = _required(form, b"scope")
    if grant_type != b"client_credentials":
        text = f"The app requested an unsupported grant type '{quotable(grant_type)}'."
        raise _refused(70003, text, error="unsupported_grant_type")
    client = client_id.decode("latin-1").lower()
    if not is_guid(client):
        raise _refused(
            700016,
            f"Application with identifier '{quotable(client_id)}' was not found in the directory '{tenant}'. "
            "wisp gateway: a client id is a GUID.",
            error="unauthorized_client",
        )
    return TokenForm(tenant, client, _resource_scope(scope), _claims(form), _assertion(form), correlation_id)


def _assertion(form: Fields) -> Secret:
    assertion, kind = _value(form, b"client_assertion"), form.get(b"client_assertion_type", b"")
    if not assertion and form.get(b"client_secret"):
        raise _own("service account tokens are accepted here, and no secrets", error="invalid_client", status=401)
    if not assertion and not kind:
        text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        raise _refused(7000218, text, error="invalid_client")
    if not assertion:
        raise _missing("client_assertion")
    if kind != _QUOTED_ASSERTION_TYPE and _required(form, b"client_assertion_type") != _ASSERTION_TYPE:
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
            f"The provided value for scope {quotable(scope)} is not valid. Client credential flows must have a scope "
            "value with /.default suffixed to the resource identifier (application ID URI).",
            error="invalid_scope",
        )
    if len(scopes) > 1 or not _is_scope(scopes[0]):
        text = (
            "The provided request must include a 'scope' input parameter. The provided value for the input parameter "
            f"'scope' is not valid. The scope {quotable(scope)} is not valid."
        )
        if len(scopes) == 1:
            text += (
                " The scope format is invalid. Scope must be in a valid URI form <https://example/scope> or a valid "
                "Guid <guid/scope>."
            )
        raise _refused(70011, text, error="invalid_scope")
    return scopes[0]


def _is_scope(text: str) -> bool:
    r"""Return whether a scope names a resource, in printable ASCII without " and \ (RFC 6749 §3.3)."""
    return text != _DEFAULT and text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _claims(form: Fields) -> str:
    """Return the claims request (OpenID Connect Core §5.5) as it was sent, or nothing."""
    claims = _value(form, b"claims")
    if not claims:
        return ""
    if len(claims) > _CLAIMS_LIMIT:
        raise _own(f"claims is longer than {_CLAIMS_LIMIT} bytes")
    try:
        _claims_decoder.decode(claims)
        return claims.decode()
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise _malformed("claims is not a JSON object") from None


def _refused(code: int, text: str, *, error: str = "invalid_request", status: int | None = None) -> _RefusedError:
    """Return a refusal that Entra would give for the same reason. Entra answers invalid_client with 401."""
    if status is None:
        status = 401 if error == "invalid_client" else 400
    return _RefusedError(TokenRefusal(_outcome(status), status, error, f"AADSTS{code}: {text}", code))


def _own(text: str, *, error: str = "invalid_request", status: int = 400) -> _RefusedError:
    """Return a refusal that only the gateway gives."""
    return _RefusedError(TokenRefusal(_outcome(status), status, error, f"wisp gateway: {text}"))


def _outcome(status: int) -> Outcome:
    return "unauthenticated" if status == 401 else "invalid_request"


def _missing(name: str, hint: str = "") -> _RefusedError:
    return _refused(900144, f"The request body must contain the following parameter: '{name}'.{hint}")


def _malformed(reason: str) -> _RefusedError:
    return _refused(9002313, f"Invalid request. Request is malformed or invalid. wisp gateway: {reason}.")
