"""Token requests: what SDKs send is read, anything else is refused as Entra would, or with the gateway's own words."""

import json
import re
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.wisp.gateway.token_requests import (
    ASSERTION,
    CLIENT_ID,
    CORRELATION_ID,
    FORM,
    PATH,
    RECORDED,
    RULES,
    SCOPE,
    TENANT,
    Recorded,
    encoded,
    token_request,
)
from wisp.azure import is_guid
from wisp.base.secret import Secret
from wisp.gateway.answers import refusal
from wisp.gateway.request import FORM_LIMIT, correlation_of, read_request
from wisp.gateway.types import TokenForm, TokenRefusal
from wisp.http.messages import Request
from wisp_local.cloud.entra.exchange import unknown_tenant
from wisp_local.cloud.entra.refusals import Refused as LocalRefused
from wisp_local.cloud.entra.request import read_token_request


def refused(request: Request) -> TokenRefusal:
    """Return the refusal of a request."""
    found = read_request(request, RULES)
    assert isinstance(found, TokenRefusal), found
    return found


def accepted(request: Request) -> TokenForm:
    """Return the form of a request."""
    found = read_request(request, RULES)
    assert isinstance(found, TokenForm), found
    return found


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.name)
def test_requests_of_azure_sdks_are_read(recorded: Recorded) -> None:
    """With MSAL's further fields and scopes; the claims request is not changed."""
    form = accepted(recorded.request)
    assert form[:5] == (TENANT, CLIENT_ID, SCOPE, recorded.claims, Secret(ASSERTION))
    assert (form.correlation_id == CORRELATION_ID) == recorded.has_id
    assert is_guid(form.correlation_id)


@pytest.mark.parametrize(
    "form, target",
    [
        pytest.param({**FORM, "client_id": CLIENT_ID.upper()}, PATH, id="client id in upper case"),
        pytest.param(FORM, PATH.replace(TENANT, TENANT.upper()), id="tenant in upper case"),
        pytest.param(FORM, f"{PATH}?api-version=1", id="query"),
        pytest.param({**FORM, "client_secret": "", "claims": ""}, PATH, id="empty fields"),
        pytest.param({**FORM, "password": "x", "": "y"}, PATH, id="unknown fields"),
        pytest.param(encoded(FORM) + b"&", PATH, id="ampersand at the end"),
        pytest.param(encoded(FORM).replace(b"-", b"%2D"), PATH, id="more escapes than necessary"),
        pytest.param(encoded(FORM).replace(b"%3A", b"%3a"), PATH, id="escapes in lower case"),
        pytest.param(encoded(FORM).replace(b"%3A", b":").replace(b"%2F", b"/"), PATH, id="no escapes"),
        pytest.param({**FORM, "scope": f"email {SCOPE}\topenid"}, PATH, id="scopes of OpenID Connect"),
    ],
)
def test_equivalent_spellings_are_one_request(form: dict[str, str] | bytes, target: str) -> None:
    """The tenant and the client id are in lower case, whatever the client sent."""
    assert accepted(token_request(form, target=target))[:5] == (TENANT, CLIENT_ID, SCOPE, "", Secret(ASSERTION))


@pytest.mark.parametrize(
    "scope",
    [
        "https://database.windows.net//.default",
        "api://3f7d1a2b-4c5e-4d6f-8a9b-0c1d2e3f4a5b/.default",
        "3f7d1a2b-4c5e-4d6f-8a9b-0c1d2e3f4a5b/.default",
        "HTTPS://VAULT.AZURE.NET/.default",
        "https://a.example/a?b=c#d/.default",
    ],
)
def test_scope_is_not_changed(scope: str) -> None:
    """Entra gives tokens of other audiences for other spellings."""
    assert accepted(token_request({**FORM, "scope": scope})).scope == scope


@pytest.mark.parametrize(
    "value, renew", [("no-cache", True), ("max-age=0", False), ("no-store", False), ("", False), ("No-Cache, x", False)]
)
def test_client_can_ask_for_a_newer_token(value: str, *, renew: bool) -> None:
    """As wisp's sidecar does when a resource has rejected the token."""
    assert accepted(token_request(headers={"cache-control": value})).renew == renew


def without(*names: str) -> dict[str, str]:
    """Return the form without some fields."""
    return {name: value for name, value in FORM.items() if name not in names}


REFUSED_FORMS: dict[str, tuple[dict[str, str] | bytes, int, int, str]] = {
    "no fields": (b"=", 900144, 400, "grant_type"),
    "no grant type": (without("grant_type"), 900144, 400, "'grant_type'"),
    "empty grant type": ({**FORM, "grant_type": ""}, 900144, 400, "'grant_type'"),
    "no client id": (without("client_id"), 900144, 400, "'client_id'"),
    "no scope": (without("scope"), 900144, 400, "'scope'"),
    "no assertion": (without("client_assertion"), 900144, 400, "'client_assertion'"),
    "no assertion type": (without("client_assertion_type"), 900144, 400, "'client_assertion_type'"),
    "no credential": (without("client_assertion", "client_assertion_type"), 7000218, 401, "client_assertion"),
    "another grant": ({**FORM, "grant_type": "password"}, 70003, 400, "'password'"),
    "grant in upper case": ({**FORM, "grant_type": "CLIENT_CREDENTIALS"}, 70003, 400, "grant type"),
    "another assertion type": (
        {**FORM, "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        9002313,
        400,
        "client_assertion_type",
    ),
    "assertion that is not ASCII": ({**FORM, "client_assertion": "é.é.é"}, 50027, 401, "JWT"),
    "field twice": (encoded(FORM) + b"&client_id=" + CLIENT_ID.encode(), 9002313, 400, "twice"),
    "field twice, first empty": (b"client_id=&" + encoded(FORM), 9002313, 400, "twice"),
    "field twice, no value": (encoded(FORM) + b"&scope", 9002313, 400, "twice"),
    "unknown field twice": (encoded(FORM) + b"&a=1&a=1", 9002313, 400, "twice"),
    "33 fields": (encoded(FORM) + b"".join(b"&a%d=1" % number for number in range(28)), 9002313, 400, "32 fields"),
    "claims: a list": ({**FORM, "claims": "[]"}, 9002313, 400, "JSON object"),
    "claims: a string": ({**FORM, "claims": '"a"'}, 9002313, 400, "JSON object"),
    "claims: cut": ({**FORM, "claims": '{"access_token":'}, 9002313, 400, "JSON object"),
    "claims: two objects": ({**FORM, "claims": "{}{}"}, 9002313, 400, "JSON object"),
    "claims: not UTF-8": (encoded(FORM) + b"&claims=%7B%22%FF%22:1%7D", 9002313, 400, "JSON object"),
    "claims: deep": ({**FORM, "claims": f'{{"a":{"[" * 2000}{"]" * 2000}}}'}, 9002313, 400, "JSON object"),
    "scope without /.default": ({**FORM, "scope": "https://vault.azure.net"}, 1002012, 400, "/.default"),
    "scope of a user": ({**FORM, "scope": f"{SCOPE} User.Read"}, 1002012, 400, "User.Read"),
    "scope of OpenID Connect alone": ({**FORM, "scope": "openid profile"}, 1002012, 400, "openid"),
    "scope of blanks": ({**FORM, "scope": "  "}, 1002012, 400, "/.default"),
    "/.default in upper case": ({**FORM, "scope": "https://vault.azure.net/.DEFAULT"}, 1002012, 400, "/.DEFAULT"),
    "empty fields twice": (b"&&" + encoded(FORM), 9002313, 400, "twice"),
    "two resources": ({**FORM, "scope": f"{SCOPE} https://b.example/.default"}, 70011, 400, "b.example"),
    "no resource": ({**FORM, "scope": "/.default"}, 70011, 400, "/.default"),
    "scope with NUL": ({**FORM, "scope": "https://a\0b/.default"}, 70011, 400, "https://a\ufffdb"),
    "scope that is not ASCII": ({**FORM, "scope": "https://ü/.default"}, 70011, 400, "scope"),
    "scope with a quotation mark": ({**FORM, "scope": 'https://a"/.default'}, 70011, 400, "scope"),
    "scope with a backslash": ({**FORM, "scope": "https://a\\/.default"}, 70011, 400, "scope"),
}


@pytest.mark.parametrize("form, code, status, text", REFUSED_FORMS.values(), ids=REFUSED_FORMS)
def test_form_that_entra_refuses_is_refused_with_its_code(
    form: dict[str, str] | bytes, code: int, status: int, text: str
) -> None:
    found = refused(token_request(form))
    assert (found.code, found.status) == (code, status)
    assert found.description.startswith(f"AADSTS{code}: ")
    assert text in found.description
    assert found.outcome == ("unauthenticated" if status == 401 else "invalid_request")


STRICTER = {
    "33 fields",
    "assertion that is not ASCII",
    "field twice, first empty",
    "empty fields twice",
    "claims: a list",
    "claims: a string",
    "claims: not UTF-8",
    "scope with NUL",
    "scope that is not ASCII",
    "scope with a quotation mark",
    "scope with a backslash",
}
"""Forms that the local Entra does not refuse, or only when it looks for the resource or at the assertion."""


@pytest.mark.parametrize("name", [name for name in REFUSED_FORMS if name not in STRICTER])
def test_form_is_refused_in_the_words_of_the_local_entra(name: str) -> None:
    """A hint of the gateway's own may follow."""
    request = token_request(REFUSED_FORMS[name][0])
    expected = read_token_request(parse_qsl(request.body.decode(), keep_blank_values=True))
    assert isinstance(expected, LocalRefused)
    found = refused(request)
    assert (found.status, found.error, found.code) == (expected.status, expected.error, expected.code)
    assert re.fullmatch(rf"AADSTS\d+: {re.escape(expected.text)}( wisp gateway: .+)?", found.description)


def test_secret_is_not_accepted() -> None:
    """Entra accepts those of applications, so the refusal has no code of Entra's."""
    found = refused(token_request({**without("client_assertion", "client_assertion_type"), "client_secret": "s3cret"}))
    assert (found.outcome, found.status, found.error, found.code) == ("unauthenticated", 401, "invalid_client", None)
    assert "s3cret" not in found.description


@pytest.mark.parametrize(
    "client_id",
    [
        pytest.param(f"{{{CLIENT_ID}}}", id="braces"),
        pytest.param(f" {CLIENT_ID}", id="space before"),
        pytest.param(f"{CLIENT_ID} ", id="space after"),
        pytest.param(f"{CLIENT_ID}\n", id="line end"),
        pytest.param(f"{CLIENT_ID}\0", id="NUL"),
        pytest.param(f"{CLIENT_ID}/", id="slash"),
        pytest.param(f"../{CLIENT_ID}", id="parent folder"),
        pytest.param(f"{CLIENT_ID}%00", id="escape twice"),
        pytest.param(CLIENT_ID.replace("-", ""), id="no hyphens"),
        pytest.param(CLIENT_ID.replace("-", "\u2010"), id="other hyphens"),
        pytest.param(CLIENT_ID.replace("3", "\uff13"), id="full-width digits"),
        pytest.param(CLIENT_ID.replace("3", "\u0663"), id="Arabic digits"),
        pytest.param(f"urn:uuid:{CLIENT_ID}", id="URN"),
        pytest.param("*", id="asterisk"),
        pytest.param("g" * 36, id="not hexadecimal"),
        pytest.param(f"{CLIENT_ID},{CLIENT_ID}", id="two"),
        pytest.param("x" * 10_000, id="long"),
    ],
)
def test_client_id_that_is_not_a_guid_is_refused(client_id: str) -> None:
    """It would be the name of a resource in RBAC. SDKs know the code: there is no such identity."""
    found = refused(token_request({**FORM, "client_id": client_id}))
    assert (found.code, found.status, found.error) == (700016, 400, "unauthorized_client")
    assert len(found.description) < 400


@pytest.mark.parametrize(
    "tenant, code",
    [
        ("11111111-1111-4111-8111-111111111111", 90002),
        ("common", 90002),
        ("organizations", 90002),
        ("contoso.onmicrosoft.com", 90002),
        (f"{TENANT}.", 900023),
        ("contoso", 900023),
        ("..", 900023),
        (".", 900023),
        ("", 900023),
        ("%2e%2e", 900023),
        (f"{TENANT}%00", 900023),
        (f"{TENANT}%2F", 900023),
        (f"{{{TENANT}}}", 900023),
        (f"{TENANT}\xe9", 900023),
        (f" {TENANT}", 900023),
        (f"{TENANT};a=b", 900023),
    ],
)
def test_tenant_that_is_not_allowed_is_refused(tenant: str, code: int) -> None:
    found = refused(token_request(target=f"/{tenant}/oauth2/v2.0/token"))
    assert (found.code, found.status, found.error) == (code, 400, "invalid_request")
    expected = unknown_tenant(tenant)
    assert expected.code == code
    assert found.description.replace("\ufffd", "").startswith(f"AADSTS{code}: {expected.text}")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "*",
        "/metadata/identity/oauth2/token",
        f"/{TENANT}/oauth2/token",
        f"/{TENANT}/oauth2/v2.0/token/",
        f"/{TENANT}/oauth2/v2.0/TOKEN",
        f"/{TENANT}/oauth2/v2.0/authorize",
        f"/{TENANT}/../{TENANT}/oauth2/v2.0/token",
        f"//{TENANT}/oauth2/v2.0/token",
        f"/a/{TENANT}/oauth2/v2.0/token",
        f"{TENANT}/oauth2/v2.0/token",
        f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token",
        f"/{TENANT}/oauth2%2Fv2.0/token",
        f"?{PATH}",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_other_paths_are_not_found(target: str, method: bytes) -> None:
    found = refused(token_request(target=target, method=method))
    assert (found.status, found.code) == (404, None)
    assert found.description == "wisp gateway: only POST /TENANT/oauth2/v2.0/token is served here"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"post"])
def test_other_methods_are_not_allowed(method: bytes) -> None:
    """The answer says which one is."""
    found = refused(token_request(method=method))
    assert (found.status, found.code) == (405, 900561)
    assert b"Allow: POST\r\n" in refusal(found, CORRELATION_ID, unix=0).headers


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded-not"],
)
def test_bodies_of_other_types_are_not_read(content_type: str) -> None:
    """As Entra says, the first field is missing; the reason follows."""
    found = refused(token_request(headers={"content-type": content_type}))
    assert (found.status, found.code) == (400, 900144)
    assert "only a body of the type application/x-www-form-urlencoded is read" in found.description


@pytest.mark.parametrize("name, most", [("client_assertion", 16 * 1024), ("claims", 4 * 1024), ("scope", 1024)])
def test_long_fields_are_refused_in_the_gateways_own_words(name: str, most: int) -> None:
    """Entra's limits are others, so there is no code of Entra's."""
    longest = {
        "client_assertion": "a" * most,
        "scope": "a" * (most - 9) + "/.default",
        "claims": "{}" + " " * (most - 2),
    }
    accepted(token_request({**FORM, name: longest[name]}))
    found = refused(token_request({**FORM, name: "a" + longest[name]}))
    assert (found.status, found.code) == (400, None)
    assert found.description == f"wisp gateway: {name} is longer than {most} bytes"


def test_body_above_the_limit_is_not_parsed() -> None:
    """The server rejects it before; this is the second line."""
    found = refused(token_request(b"a=" + b"&" * (3 * 1024 * 1024)))
    assert (found.status, found.code) == (413, None)
    assert refused(token_request(b"a" * FORM_LIMIT)).code == 900144


@pytest.mark.parametrize(
    "headers, body",
    [
        ({"client-request-id": CORRELATION_ID}, encoded(FORM)),
        ({"client-request-id": CORRELATION_ID.upper()}, encoded(FORM)),
        ({"x-ms-client-request-id": CORRELATION_ID}, encoded(FORM)),
        ({"x-ms-client-request-id": CLIENT_ID, "client-request-id": CORRELATION_ID}, encoded(FORM)),
        ({"x-ms-client-request-id": CLIENT_ID}, encoded({**FORM, "client-request-id": CORRELATION_ID})),
        ({"client-request-id": "not a UUID"}, encoded({"client-request-id": CORRELATION_ID, **FORM})),
        ({}, f"client-request-id={CORRELATION_ID}".encode()),
    ],
)
def test_clients_own_request_id_is_kept(headers: dict[str, str], body: bytes) -> None:
    """MSAL's header comes before the field of MSAL for JavaScript, and that before azure-core's header."""
    assert correlation_of(token_request(body, headers=headers)) == CORRELATION_ID


@pytest.mark.parametrize(
    "value",
    ["", "1", f"{CORRELATION_ID}0", f"{{{CORRELATION_ID}}}", "\xe9" * 36, "g" * 36, f" {CORRELATION_ID}", "-" * 36],
)
def test_other_request_ids_are_replaced(value: str) -> None:
    """They would be in log lines and headers."""
    requests = [
        token_request(headers={"client-request-id": value}),
        token_request(headers={"x-ms-client-request-id": value}),
        token_request({**FORM, "client-request-id": value}),
    ]
    found = {correlation_of(request) for request in requests}
    assert len(found) == 3
    assert all(is_guid(identifier) and identifier != CORRELATION_ID for identifier in found)


def test_assertion_in_another_field_is_not_repeated() -> None:
    """A client that mixes up its arguments must not find its token in a log."""
    for name in ("scope", "client_id", "grant_type"):
        found = refused(token_request({**FORM, name: f"Bearer {ASSERTION}"}))
        assert "***" in found.description
        assert ASSERTION[:20] not in found.description
    found = refused(token_request(target=f"/{ASSERTION}/oauth2/v2.0/token"))
    assert ASSERTION[:20] not in found.description


FIELDS = st.lists(
    st.tuples(
        st.sampled_from([*FORM, "claims", "client-request-id", "client_secret", "x"]) | st.text(max_size=10),
        st.sampled_from([*FORM.values(), ASSERTION, "{}"]) | st.text(max_size=200),
    ),
    max_size=40,
)
BODIES = st.binary(max_size=2000) | FIELDS.map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "surrogatepass")
)
VALID_BODIES = st.lists(FIELDS.map(dict), max_size=1).map(
    lambda forms: encoded({**FORM, **(forms[0] if forms else {})})
)
REQUESTS = st.builds(
    Request,
    st.sampled_from([b"POST", b"GET"]) | st.binary(min_size=1, max_size=10),
    st.just(PATH.encode())
    | st.binary(max_size=100).map(lambda name: b"/" + name + b"/oauth2/v2.0/token")
    | st.binary(),
    st.lists(
        st.tuples(
            st.sampled_from([b"content-type", b"client-request-id", b"x-ms-client-request-id"]),
            st.sampled_from([b"application/x-www-form-urlencoded", CORRELATION_ID.encode()]) | st.binary(max_size=50),
        ),
        max_size=4,
    ).map(tuple),
    BODIES | VALID_BODIES,
    st.booleans(),
    st.booleans(),
)


@given(REQUESTS)
@example(token_request())
@example(token_request({**FORM, "scope": ASSERTION}))
def test_any_request_is_read_or_refused_in_entras_format(request: Request) -> None:
    """Reading never raises, and no refusal holds the assertion."""
    found = read_request(request, RULES)
    if isinstance(found, TokenForm):
        check_form(found)
    else:
        check_refusal(found)


def check_form(form: TokenForm) -> None:
    """Check what the rest of the gateway relies on."""
    assert form.tenant == TENANT
    assert is_guid(form.client_id)
    assert form.client_id == form.client_id.lower()
    assert form.scope.endswith("/.default")
    assert re.fullmatch(r"[!-~]+", form.scope)
    assert form.claims == "" or isinstance(json.loads(form.claims), dict)
    assert form.assertion.reveal().isascii()
    assert is_guid(form.correlation_id)


def check_refusal(found: TokenRefusal) -> None:
    """Check the answer of a refusal by its bytes."""
    response = refusal(found, CORRELATION_ID, unix=1_700_000_000)
    assert response.status == found.status
    assert 400 <= response.status < 600
    assert ASSERTION.encode() not in response.body
    document = json.loads(response.body)
    assert list(document) == [
        "error",
        "error_description",
        "error_codes",
        "timestamp",
        "trace_id",
        "correlation_id",
        "error_uri",
    ]
    assert document["error_codes"] == ([] if found.code is None else [found.code])
    prefix = "wisp gateway: " if found.code is None else f"AADSTS{found.code}: "
    assert document["error_description"].startswith(prefix)
    assert document["error_description"].isprintable()
    assert len(document["error_description"]) < 1000
