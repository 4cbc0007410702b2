"""The access token, looked at with an independent library."""

import json
from typing import Any

import jwt
import pytest

from tests.unit.wisp_local.cloud.small_azure import ARM, NOW, SmallAzure, claims_of
from wisp_local.cloud.entra.claims import Issue, access_token_claims


def _verified(azure: SmallAzure, token: str, audience: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Verify as a resource would: metadata, its key set, the key that the header names."""
    metadata = azure.client.get(f"/{azure.tenant}/.well-known/openid-configuration").json()
    published = azure.client.get(metadata["jwks_uri"].removeprefix("https://cloud.test:8443")).json()
    key = jwt.PyJWKSet.from_dict(published)[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = jwt.decode(token, key, ["RS256"], audience=audience, issuer=metadata["issuer"], options=options)
    return jwt.get_unverified_header(token), claims


def test_token_verifies_and_has_the_claims_of_a_managed_identity(azure: SmallAzure) -> None:
    """Names, order and types are those of Entra."""
    header, claims = _verified(azure, azure.ask().json()["access_token"], ARM)
    tenant, identity = azure.store.tenant(), azure.identity
    opaque = {name: claims.pop(name) for name in ("aio", "rh", "uti")}
    assert all(isinstance(value, str) and len(value) > 15 for value in opaque.values())
    assert claims == {
        "aud": ARM,
        "iss": f"https://sts.windows.net/{tenant.id}/",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 86400,
        "appid": identity.client_id,
        "appidacr": "2",
        "idp": f"https://sts.windows.net/{tenant.id}/",
        "idtyp": "app",
        "oid": identity.principal_id,
        "sub": identity.principal_id,
        "tid": tenant.id,
        "ver": "1.0",
        "xms_cae": "1",
        "xms_mirid": f"/subscriptions/{azure.store.subscription().id}/resourcegroups/WorkloadIdentityRG"
        "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/wi-demo-identity",
        "xms_tcdt": NOW,
    }
    assert all(isinstance(claims[name], int) for name in ("iat", "nbf", "exp", "xms_tcdt"))
    assert header == {"typ": "JWT", "alg": "RS256", "x5t": header["kid"], "kid": header["kid"]}


def test_answer_has_the_lifetime_and_forbids_caching(azure: SmallAzure) -> None:
    """Two tokens are never the same."""
    answer = azure.ask()
    document = answer.json()
    claims = claims_of(document.pop("access_token"))
    assert document == {
        "token_type": "Bearer",
        "expires_in": claims["exp"] - claims["iat"],
        "ext_expires_in": 86400,
        "refresh_in": 43200,
    }
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store, no-cache", "no-cache")
    assert claims_of(azure.ask().json()["access_token"])["uti"] != claims["uti"]


@pytest.mark.parametrize(
    "scope, audience",
    [
        ("https://management.azure.com//.default", "https://management.azure.com/"),
        ("https://management.azure.com/.default", "https://management.azure.com"),
        ("https://database.windows.net//.default openid profile offline_access", "https://database.windows.net/"),
        ("https://my-api.test/.default/.default", "https://my-api.test/.default"),
        ("https://VAULT.azure.net/.default", "https://VAULT.azure.net"),
        ("00000003-0000-0000-c000-000000000000/.default", "00000003-0000-0000-c000-000000000000"),
        ("499b84ac-1321-427f-aa17-267ca6975798/.default", "499b84ac-1321-427f-aa17-267ca6975798"),
        ("https://me.blob.core.windows.net//.default", "https://me.blob.core.windows.net/"),
        ("api://my-api/.default", "api://my-api"),
    ],
)
def test_audience_is_the_scope_before_the_last_default(azure: SmallAzure, scope: str, audience: str) -> None:
    """Slashes are not normalised, as in Entra."""
    azure.store.put_resource("api://my-api")
    azure.store.put_resource("https://my-api.test/.default")
    assert claims_of(azure.ask(scope=scope).json()["access_token"])["aud"] == audience


@pytest.mark.parametrize(
    "claims, capabilities",
    [
        ('{"access_token": {"xms_cc": {"values": ["cp1"]}}}', ["cp1"]),
        ('{"access_token": {"xms_cc": {"values": [1, "<script>", null]}}}', None),
        ('{"access_token": []}', None),
        ("[]", None),
    ],
)
def test_claimed_capability_is_in_the_token(azure: SmallAzure, claims: str, capabilities: list[str] | None) -> None:
    """xms_cc is a list, and has only well-formed values."""
    assert claims_of(azure.ask(claims=claims).json()["access_token"]).get("xms_cc") == capabilities


def test_claims_survive_json(azure: SmallAzure) -> None:
    claims = access_token_claims(azure.store.tenant(), azure.identity, Issue(ARM, 1, 2, b"x" * 16))
    assert json.loads(json.dumps(claims)) == claims
