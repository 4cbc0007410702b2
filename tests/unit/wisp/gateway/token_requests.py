"""Token requests as Azure's SDKs send them to the gateway, recorded from the versions named here."""

import base64
import json
from typing import NamedTuple
from urllib.parse import quote_plus

from wisp.gateway.request import Rules
from wisp.http.messages import Request

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
CLIENT_ID = "3f7d1a2b-4c5e-4d6f-8a9b-0c1d2e3f4a5b"
SCOPE = "https://vault.azure.net/.default"
CORRELATION_ID = "1ad30589-5438-4897-98a7-355c5c0dc889"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
RULES = Rules(frozenset({TENANT}))
PATH = f"/{TENANT}/oauth2/v2.0/token"
FORM_TYPE = "application/x-www-form-urlencoded"


def _part(document: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


ASSERTION = ".".join(
    (
        _part({"alg": "RS256", "kid": "k"}),
        _part({"aud": ["api://AKSIdentityBinding"], "exp": 2_000_000_000, "sub": "system:serviceaccount:shop:api"}),
        "c2ln" * 85,
    )
)
FORM = {
    "client_assertion": ASSERTION,
    "client_assertion_type": ASSERTION_TYPE,
    "client_id": CLIENT_ID,
    "grant_type": "client_credentials",
    "scope": SCOPE,
}
"""What azure-identity for Python sends, and all that is needed."""


def encoded(form: dict[str, str]) -> bytes:
    """Return the form as a body."""
    return "&".join(f"{name}={quote_plus(value)}" for name, value in form.items()).encode()


def token_request(
    form: dict[str, str] | bytes = b"",
    *,
    method: bytes = b"POST",
    target: str = PATH,
    headers: dict[str, str] | None = None,
) -> Request:
    """Return a token request, by default a valid one."""
    body = form if isinstance(form, bytes) and form else encoded(form if isinstance(form, dict) else FORM)
    fields = {"host": "wisp-gateway.wisp-system.svc", "content-type": FORM_TYPE, **(headers or {})}
    lines = tuple((name.lower().encode(), value.encode("latin-1")) for name, value in fields.items())
    return Request(method, target.encode("latin-1"), lines, body, http_1_0=False, keep_alive=True)


class Recorded(NamedTuple):
    """A request of an SDK: its `claims` are those of a claims challenge, and of continuous access evaluation."""

    name: str
    request: Request
    claims: str = ""
    has_id: bool = True
    """Whether it has `CORRELATION_ID`."""


_CHALLENGE = '{"access_token":{"nbf":{"essential":true,"value":"1700000000"},"xms_cc":{"values":["CP1"]}}}'
_SPACED = _CHALLENGE.replace(":", ": ").replace(",", ", ")
_MSAL_JS = (
    '{"access_token":{"nbf":{"essential":true,"value":"1700000000"},"xms_cc":{"values":["cp1"]}},'
    '"id_token":{"signin_state":{"essential":false},"login_hint":{"essential":false},'
    '"tenant_region_sub_scope":{"essential":false}}}'
)
_JAVA = '{"access_token":{"xms_cc":{"values":["CP1"]}}}'
_JAVA_HEADERS = {
    "return-client-request-id": "true",
    "client-request-id": CORRELATION_ID,
    "x-client-current-telemetry": "5|800,0,,0,0|",
    "x-client-last-telemetry": "5|0|800,a2584c15-d600-4e8e-b1d3-d3e96aad2e16||",
    "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
    "x-client-VER": "1.26.0",
    "x-client-OS": "Linux",
    "x-client-SKU": "MSAL.Java",
    "x-ms-lib-capability": "retry-after, h429",
    "Accept": "text/html, image/gif, image/jpeg, */*; q=0.2",
}
_GO_HEADERS = {
    "Client-Request-Id": CORRELATION_ID,
    "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
    "Return-Client-Request-Id": "false",
    "X-Client-Cpu": "amd64",
    "X-Client-Os": "linux",
    "X-Client-Sku": "MSAL.Go",
    "X-Client-Ver": "1.10.1",
    "Accept-Encoding": "gzip",
}
_JS_HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded;charset=utf-8",
    "x-ms-client-request-id": "e0e2d856-197a-4762-a4da-bc7e9f028c78",
}
_JS_FORM = {
    "client_id": CLIENT_ID,
    "scope": SCOPE,
    "grant_type": "client_credentials",
    "x-client-SKU": "msal.js.node",
    "x-client-VER": "7.2.3",
    "x-client-OS": "linux",
    "x-client-CPU": "x64",
    "x-ms-lib-capability": "retry-after, h429",
    "x-client-current-telemetry": "5|771,2,,,|,",
    "x-client-last-telemetry": "5|0|||0,0",
    "client-request-id": CORRELATION_ID,
    "client_assertion": ASSERTION,
    "client_assertion_type": ASSERTION_TYPE,
}
_JS_TARGET = f"{PATH}?client-request-id={CORRELATION_ID}"

RECORDED = (
    Recorded("Python 1.27.0", token_request(headers={"x-ms-client-request-id": CORRELATION_ID})),
    Recorded("Python 1.27.0, claims", token_request({**FORM, "claims": _SPACED}), _SPACED, has_id=False),
    Recorded("JavaScript 4.14.1", token_request(_JS_FORM, target=_JS_TARGET, headers=_JS_HEADERS)),
    Recorded(
        "JavaScript 4.14.1, claims",
        token_request({**_JS_FORM, "claims": _MSAL_JS}, target=_JS_TARGET, headers=_JS_HEADERS),
        _MSAL_JS,
    ),
    Recorded(
        "Java 1.19.0",
        token_request(
            {**FORM, "client_info": "1", "scope": f"openid profile offline_access {SCOPE}"}, headers=_JAVA_HEADERS
        ),
    ),
    Recorded(
        "Java 1.19.0, claims",
        token_request(
            {"claims": _JAVA, **FORM, "client_info": "1", "scope": f"{SCOPE} openid profile offline_access"},
            headers=_JAVA_HEADERS,
        ),
        _JAVA,
    ),
    Recorded(
        "Go 1.15.0",
        token_request(
            {**FORM, "client_info": "1", "scope": f"{SCOPE} openid offline_access profile"}, headers=_GO_HEADERS
        ),
    ),
    Recorded(
        "Go 1.15.0, claims",
        token_request(
            {"claims": _CHALLENGE, **FORM, "client_info": "1", "scope": f"{SCOPE} openid offline_access profile"},
            headers=_GO_HEADERS,
        ),
        _CHALLENGE,
    ),
    Recorded("Rust 1.0.0", token_request(FORM), has_id=False),
)
