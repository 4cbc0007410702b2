"""Discovery requests of MSAL at the token proxy."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from wisp.gateway.discovery import discovery
from wisp.http.messages import Request

AUTHORITY = "https://login.microsoftonline.com"
TENANT = "7c1b0d2e-0000-4000-8000-00000000000a"
CONFIGURATION = f"/{TENANT}/v2.0/.well-known/openid-configuration"
AUTHORIZE = f"{AUTHORITY}/{TENANT}/oauth2/v2.0/authorize"


def _request(target: str, method: bytes = b"GET") -> Request:
    return Request(method, target.encode("latin-1"), (), b"", http_1_0=False, keep_alive=True)


def _document(target: str, authority: str = AUTHORITY) -> Any:
    response = discovery(_request(target), authority)
    assert response is not None
    assert response.status == 200
    return json.loads(response.body)


def test_openid_configuration_names_the_tenants_token_endpoint() -> None:
    """With an issuer at the same authority, which MSAL requires."""
    document = _document(CONFIGURATION)
    assert document["token_endpoint"] == f"{AUTHORITY}/{TENANT}/oauth2/v2.0/token"
    assert document["authorization_endpoint"] == AUTHORIZE
    assert document["issuer"] == f"{AUTHORITY}/{TENANT}/v2.0"


@pytest.mark.parametrize(
    "endpoint", [AUTHORIZE, quote(AUTHORIZE, safe=""), f"https://10.1.2.3/{TENANT}/oauth2/v2.0/authorize"], ids=str
)
def test_instance_discovery_leads_to_the_tenants_configuration(endpoint: str) -> None:
    """Java leaves the URL in the query as it is, and its port out; Go encodes it."""
    target = f"/common/discovery/instance?api-version=1.1&authorization_endpoint={endpoint}"
    assert _document(target)["tenant_discovery_endpoint"] == AUTHORITY + CONFIGURATION


def test_authority_is_its_own_only_alias() -> None:
    """With its port."""
    document = _document("/common/discovery/instance", "https://10.1.2.3:8443")
    assert [entry["aliases"] for entry in document["metadata"]] == [["10.1.2.3:8443"]]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?authorization_endpoint=",
        "?authorization_endpoint=https://[",
        '?authorization_endpoint=https://login.microsoftonline.com/%22,"x":"',
        "?authorization_endpoint=https://login.microsoftonline.com/" + 129 * "a",
        "?" + 17 * "a=b&",
    ],
    ids=["none", "empty", "invalid URL", "not a tenant", "long", "many"],
)
def test_instance_discovery_without_a_tenant_leads_to_common(query: str) -> None:
    """Nothing else of the request is in the answer."""
    endpoint = _document(f"/common/discovery/instance{query}")["tenant_discovery_endpoint"]
    assert endpoint == f"{AUTHORITY}/common/v2.0/.well-known/openid-configuration"


@pytest.mark.parametrize(
    "request_",
    [
        _request(CONFIGURATION, b"POST"),
        _request(f"/{TENANT}/oauth2/v2.0/token"),
        _request(f"/x{CONFIGURATION}"),
        _request(f"{CONFIGURATION}/"),
        _request(f"/{TENANT}%22/v2.0/.well-known/openid-configuration"),
        _request(f"/{TENANT}/.well-known/openid-configuration"),
        _request("/\xe9/v2.0/.well-known/openid-configuration"),
        _request("/"),
    ],
    ids=["method", "token endpoint", "prefix", "suffix", "character", "v1.0", "not ASCII", "root"],
)
def test_other_requests_are_not_answered(request_: Request) -> None:
    """They are for the token endpoint, or for nobody."""
    assert discovery(request_, AUTHORITY) is None
