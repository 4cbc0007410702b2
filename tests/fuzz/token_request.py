"""Any request to the gateway, and any assertion in it: read as it was sent, or refused in Entra's format.

An input is a request as people write it (`routing.request_of`), or claims in JSON, which are put into an assertion.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote_plus

from tests.fuzz.routing import request_of
from tests.fuzz.token_response import holds_token
from tests.support.fakes import UNIX
from tests.unit.wisp.gateway.token_requests import CORRELATION_ID, PATH, RULES, TENANT
from wisp.base.secret import Secret
from wisp.gateway.answers import refusal, unauthenticated
from wisp.gateway.assertion import Examined, examine
from wisp.gateway.request import read_request
from wisp.gateway.types import AUDIENCE, TokenForm, TokenRefusal, Unauthenticated
from wisp.http.messages import Request

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SCOPE = re.compile(r"[!#-\[\]-~]+/\.default")
_STATUSES = {400, 401, 404, 405, 413}
_FIELDS = {
    "error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri",
}  # fmt: skip


class Reading(NamedTuple):
    """The parsers under test; a test replaces them by faulty ones."""

    read: Callable[..., TokenForm | TokenRefusal] = read_request
    examine: Callable[..., Examined | Unauthenticated] = examine


def check(data: bytes, reading: Reading | None = None) -> None:
    """Fail if something is read into the input that it does not contain, or a refusal cannot be answered."""
    made = reading or Reading()
    if data.startswith(b"{"):
        _check_assertion(f"e30.{base64.urlsafe_b64encode(data).rstrip(b'=').decode()}.c2ln", made)
        return
    request = request_of(data)
    found = made.read(request, RULES)
    if isinstance(found, TokenForm):
        _check_form(request, found)
        _check_assertion(found.assertion.reveal(), made)
    else:
        _check_refusal(found)


def _check_form(request: Request, form: TokenForm) -> None:
    assert request.method == b"POST"
    assert request.target.partition(b"?")[0].lower() == PATH.encode(), "a token for another path"
    assert form.tenant == TENANT
    sent = _sent(request.body)
    assert sent["grant_type"] == "client_credentials"
    assert sent["client_id"].lower() == form.client_id
    assert _GUID.fullmatch(form.client_id), "the name of a resource in RBAC that is not a GUID"
    assert form.scope in sent["scope"].split()
    assert _SCOPE.fullmatch(form.scope)
    assert sent["client_assertion"] == form.assertion.reveal()
    assert unquote_plus(sent.get("claims", "")) == unquote_plus(form.claims.encode().decode("latin-1"))
    assert not form.claims or isinstance(json.loads(form.claims), dict)
    assert _GUID.fullmatch(form.correlation_id)
    assert repr(form.assertion) == "Secret(***)"


def _sent(body: bytes) -> Mapping[str, str]:
    """Return the fields of a form, by names as they were sent. No name comes twice."""
    pairs = [field.partition("=") for field in body.decode("latin-1").split("&")]
    assert len({name for name, _, _ in pairs}) == len(pairs), "a field twice"
    return {name: unquote_plus(value, "latin-1") for name, _, value in pairs}


def _check_assertion(text: str, made: Reading) -> None:
    found = made.examine(Secret(text), AUDIENCE, UNIX)
    if isinstance(found, Unauthenticated):
        _check_refusal(unauthenticated(found))
        return
    part = text.split(".")[1]
    text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode("utf-8", "replace")
    claims = json.loads(text)  # other claims than those examined may hold bytes that are not UTF-8
    assert AUDIENCE in (claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]), "another audience"
    assert float(claims["exp"]) == found.expires_at > UNIX
    assert len(found.digest) == 32


def _check_refusal(refused: TokenRefusal) -> None:
    response = refusal(refused, CORRELATION_ID, unix=UNIX)
    assert response.status in _STATUSES
    document = json.loads(response.body)
    assert set(document) == _FIELDS
    assert document["error_description"].isprintable()
    assert len(document["error_description"]) < 1000
    assert not holds_token(document["error_description"]), "a refusal holds a token"
