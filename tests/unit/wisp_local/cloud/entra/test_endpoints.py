"""The HTTP around the token endpoint: metadata, methods, limits, headers, log."""

from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.wisp_local.cloud.asgi import FORM, Client
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, SmallAzure
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.entra.endpoints import BODY_LIMIT

ANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
GUID = "11111111-2222-4333-8444-555555555555"


def _path(azure: SmallAzure) -> str:
    return f"/{azure.tenant}/oauth2/v2.0/token"


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
def test_body_of_another_content_type_has_no_parameters(azure: SmallAzure, content_type: str) -> None:
    """Entra's error is about the first missing one."""
    body = urlencode(azure.form()).encode()
    assert azure.client.send("POST", _path(azure), body, {"content-type": content_type}).code == 900144


def test_content_type_ignores_case_and_parameters(azure: SmallAzure) -> None:
    headers = {"content-type": "Application/X-WWW-Form-Urlencoded; charset=utf-8"}
    assert azure.client.send("POST", _path(azure), urlencode(azure.form()).encode(), headers).status == 200


BODIES = {
    "a repeated parameter": b"grant_type=client_credentials&grant_type=client_credentials",
    "bytes beyond ascii": b"grant_type=\xff",
    "escapes that are no utf-8": b"grant_type=%ff",
    "too many parameters": b"&".join(b"a%d=1" % number for number in range(40)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_malformed_form_is_refused(azure: SmallAzure, body: bytes) -> None:
    """RFC 6749 §3.2 forbids repeated parameters."""
    answer = azure.client.send("POST", _path(azure), body, {"content-type": FORM})
    assert (answer.code, answer.status) == (9002313, 400)


def test_body_of_64_kib_is_read_and_a_longer_one_refused(azure: SmallAzure) -> None:
    start = urlencode(azure.form()).encode() + b"&padding="
    for length, status in ((BODY_LIMIT, 200), (BODY_LIMIT + 1, 413)):
        body = start + b"x" * (length - len(start))
        assert azure.client.send("POST", _path(azure), body, {"content-type": FORM}).status == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_token_endpoint_accepts_only_post(azure: SmallAzure, method: str) -> None:
    answer = azure.client.get(_path(azure), method)
    assert (answer.status, answer.headers["allow"], answer.code) == (405, "POST", 900561)


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/oidc/x/", "/%2e%2e/etc/passwd", f"/{GUID}/oauth2/token"])
def test_unknown_path_is_a_404_in_json(azure: SmallAzure, path: str) -> None:
    answer = azure.client.get(path)
    assert (answer.status, answer.json()["error"]) == (404, "Not Found")
    assert azure.client.get("/healthz", "POST").status == 405
    assert azure.client.get("/healthz", "HEAD").status == 200


def test_client_request_id_is_the_correlation_id(azure: SmallAzure) -> None:
    """If it is a GUID."""
    path = _path(azure)
    assert azure.client.post(path, {}, **{"client-request-id": GUID}).json()["correlation_id"] == GUID
    answer = azure.client.post(path, {}, **{"client-request-id": "x" * 99})
    assert len(answer.json()["correlation_id"]) == len(GUID)
    assert answer.headers["x-ms-request-id"] == answer.json()["trace_id"]


@pytest.mark.parametrize("version, issuer", [("", "https://sts.windows.net/{}/"), ("/v2.0", BASE_URL + "/{}/v2.0")])
@pytest.mark.parametrize("tenant", ["own", "common"])
def test_metadata_names_endpoints_that_answer(azure: SmallAzure, version: str, issuer: str, tenant: str) -> None:
    """`common` leaves the tenant open in the issuer."""
    name = azure.tenant if tenant == "own" else "common"
    metadata = azure.client.get(f"/{name}{version}/.well-known/openid-configuration").json()
    assert metadata["issuer"] == issuer.format(azure.tenant if tenant == "own" else "{tenantid}")
    assert metadata["token_endpoint"] == f"{BASE_URL}/{name}/oauth2/v2.0/token"
    (key,) = azure.client.get(metadata["jwks_uri"].removeprefix(BASE_URL)).json()["keys"]
    assert {"kty", "use", "kid", "x5t", "n", "e", "x5c"} <= key.keys()
    assert not {"d", "p", "q", "dp", "dq", "qi"} & key.keys()


@pytest.mark.parametrize("path", ["v2.0/.well-known/openid-configuration", "discovery/keys"])
def test_metadata_of_another_tenant_is_refused(azure: SmallAzure, path: str) -> None:
    """MSAL shows Entra's error to users."""
    answer = azure.client.get(f"/{GUID}/{path}")
    assert (answer.status, answer.code, answer.json()["error"]) == (400, 90002, "invalid_tenant")


def test_instance_discovery_names_only_this_host(azure: SmallAzure) -> None:
    """SDKs ask it before they trust an authority that is not Microsoft's."""
    asked = f"{BASE_URL}/{azure.tenant}/oauth2/v2.0/authorize"
    target = f"/common/discovery/instance?api-version=1.1&authorization_endpoint={asked}"
    document = azure.client.get(target).json()
    assert document["tenant_discovery_endpoint"] == f"{BASE_URL}/{azure.tenant}/v2.0/.well-known/openid-configuration"
    assert document["metadata"][0]["aliases"] == ["cloud.test:8443"]


def test_urls_have_the_alias_that_the_client_used(azure: SmallAzure) -> None:
    """Unknown host names are not believed."""
    app = create_app(azure.store, BASE_URL, Options(aliases=["https://10.0.0.1:8443"]))
    for host, base in (("10.0.0.1:8443", "https://10.0.0.1:8443"), ("evil.test", BASE_URL)):
        with Client(app, host) as client:
            document = client.get(f"/oidc/{azure.issuer.id}/.well-known/openid-configuration").json()
        assert document["issuer"] == base + azure.issuer.path
    url = f"https://10.0.0.1:8443{azure.issuer.path}"
    azure.store.put_federated_credential(azure.identity, "alias", issuer=url, subject="s")
    with Client(app, "x") as client:
        form = azure.form(client_assertion=azure.assertion(iss=url, sub="s"))
        assert client.post(_path(azure), form).status == 200


def test_request_is_logged_without_body_query_and_headers(azure: SmallAzure) -> None:
    azure.ask()
    azure.client.get("/healthz?secret=1", authorization="Bearer x")
    granted, health = azure.log
    assert (granted["status"], granted["outcome"], granted["path"]) == (200, "granted", _path(azure))
    assert {**health, "ms": 0} == {"event": "request", "method": "GET", "path": "/healthz", "status": 200, "ms": 0}


def test_unusable_state_file_is_a_503(azure: SmallAzure) -> None:
    """The reason is only in the log."""
    azure.store.close()
    answer = azure.client.post(f"/{GUID}/oauth2/v2.0/token", {})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "state" in str(azure.log[-1]["problem"])


@ANY
@given(body=st.binary(max_size=200) | st.text(alphabet="grant_type=&client%id.é;", max_size=80).map(str.encode))
def test_arbitrary_body_is_refused_as_entra_does(azure: SmallAzure, body: bytes) -> None:
    answer = azure.client.send("POST", _path(azure), body, {"content-type": FORM})
    assert answer.status in (400, 401)
    assert answer.json()["error_codes"]


@ANY
@given(name=st.sampled_from(["client_id", "scope", "claims", "grant_type", "client_assertion"]), value=st.text())
def test_arbitrary_parameter_is_granted_or_refused(azure: SmallAzure, name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    assert azure.ask(**{name: value}).status in (200, 400, 401)


@ANY
@given(st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "nbf"]), st.text() | st.integers() | st.floats()))
def test_arbitrary_signed_claim_is_granted_or_refused(azure: SmallAzure, changes: dict[str, object]) -> None:
    assert azure.present(**changes).status in (200, 400, 401)
