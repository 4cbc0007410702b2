"""What a cluster's issuer publishes and mints."""

import base64
import hashlib
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.wisp_local.cloud.small_azure import BASE_URL, NOW, PROJECTION, SUBJECT, SmallAzure
from wisp_local.cloud.errors import RequestError
from wisp_local.cloud.issuer import Projection, service_account_token


def test_service_account_token_has_the_claims_of_kubernetes(azure: SmallAzure) -> None:
    """It verifies with the published keys."""
    token = service_account_token(azure.issuer, azure.issuer_url, PROJECTION, now=NOW).reveal()
    discovery = azure.client.get(f"{azure.issuer.path}.well-known/openid-configuration").json()
    published = azure.client.get(discovery["jwks_uri"].removeprefix(BASE_URL)).json()
    header = jwt.get_unverified_header(token)
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    key = jwt.PyJWKSet.from_dict(published)[header["kid"]]
    claims = jwt.decode(token, key, ["RS256"], audience="api://AzureADTokenExchange", options=options)
    bound = claims.pop("kubernetes.io")
    assert header == {"alg": "RS256", "kid": header["kid"]}
    assert len(claims.pop("jti")) == 36
    assert claims == {
        "aud": ["api://AzureADTokenExchange"],
        "exp": NOW + 3600,
        "iat": NOW,
        "iss": discovery["issuer"],
        "nbf": NOW,
        "sub": SUBJECT,
    }
    assert {name: bound[name] for name in ("namespace", "warnafter")} == {
        "namespace": "kube-system",
        "warnafter": NOW + 3600,
    }
    assert [bound[kind]["name"] for kind in ("node", "pod", "serviceaccount")] == ["wisp-node", "pod", "wi-demo-sa"]


def test_discovery_document_equals_the_api_servers(azure: SmallAzure) -> None:
    """The key set is where AKS has it."""
    answer = azure.client.get(f"{azure.issuer.path}.well-known/openid-configuration")
    assert answer.json() == {
        "issuer": azure.issuer_url,
        "jwks_uri": f"{azure.issuer_url}openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
    assert azure.issuer_url.endswith("/")


def test_key_set_equals_the_api_servers(azure: SmallAzure) -> None:
    """The kid is derived as the API server does; nothing private is published."""
    (key,) = azure.client.get(f"{azure.issuer.path}openid/v1/jwks").json()["keys"]
    der = azure.issuer.keys[0].private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key["kid"] == base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
    assert sorted(key) == ["alg", "e", "kid", "kty", "n", "use"]


@pytest.mark.parametrize("path", [".well-known/openid-configuration", "openid/v1/jwks"])
def test_unknown_issuer_is_a_404(azure: SmallAzure, path: str) -> None:
    """A name does not find it either; only the id does."""
    for issuer in ("11111111-2222-4333-8444-555555555555", "wilab"):
        assert azure.client.get(f"/oidc/{issuer}/{path}").status == 404


def test_tokens_of_a_pod_have_equal_uids_and_different_jti(azure: SmallAzure) -> None:
    first, second = (
        json.loads(base64.urlsafe_b64decode(token.reveal().split(".")[1] + "=="))
        for token in (service_account_token(azure.issuer, azure.issuer_url, PROJECTION, now=NOW) for _ in range(2))
    )
    assert first["kubernetes.io"] == second["kubernetes.io"]
    assert first["jti"] != second["jti"]


def test_token_of_less_than_ten_minutes_is_refused(azure: SmallAzure) -> None:
    with pytest.raises(RequestError, match="599"):
        service_account_token(azure.issuer, azure.issuer_url, Projection("a", "b", lifetime=599), now=NOW)


def test_issued_token_is_masked(azure: SmallAzure) -> None:
    assert "***" in str(service_account_token(azure.issuer, azure.issuer_url, PROJECTION, now=NOW))
