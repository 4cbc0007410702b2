"""The token gateway's own exchanges with the local cloud: an identity binding, a token, and the page about it."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import urllib3

from tests.unit.wisp_local.cloud.process import Running, exchange_secret, running
from tests.unit.wisp_local.cloud.small_azure import claims_of
from wisp.entra.freshness import Token
from wisp.entra.messages import Refused, TokenKey
from wisp.gateway.tokens import IdentityTokens, gateway_settings
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.roles import OWNER
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.system

REQUEST_ID = "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0"
CLAIMS = '{"access_token": {"nbf": {"essential": true, "value": "1604106651"}, "xms_cc": {"values": ["cp1"]}}}'


def _put(cloud: Running, token: str, path: str, body: Mapping[str, object]) -> None:
    """Create a resource as az does; the cloud takes no time for it."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{cloud.url}{path}?api-version=2026-06-01"
    with urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
        answer = pool.request("PUT", url, body=json.dumps(body), headers=headers)
    assert answer.status == 201, answer.data


def _page(cloud: Running, identifier: str) -> str:
    with urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
        answer = pool.request("GET", f"{cloud.url}/exchanges/{identifier}")
    assert answer.status == 200
    return answer.data.decode()


def _bind(cloud: Running) -> TokenKey:
    """Create a cluster, an identity and a binding; return the key of the identity's token."""
    with Store(cloud.state) as store:
        application = store.principals.put("me")
        store.assignments.give(application.principal_id, OWNER, store.subscription().id)
        token = exchange_secret(cloud, application, store.principals.add_secret(application)).reveal()
        group = store.put_resource_group("RG", "eastus").resource_id
        identity = store.put_identity("RG", "app", "eastus")
    cluster = f"{group}/providers/Microsoft.ContainerService/managedClusters/wilab"
    _put(cloud, token, cluster, {"location": "eastus", "properties": {"oidcIssuerProfile": {"enabled": True}}})
    properties = {"managedIdentity": {"resourceId": identity.resource_id}}
    _put(cloud, token, f"{cluster}/identityBindings/ib", {"properties": properties})
    return TokenKey(identity.client_id, "https://vault.azure.net/.default", "", identity.tenant_id, CLAIMS)


def _environment(cloud: Running, tenant: str, folder: Path) -> dict[str, str]:
    """Return the variables of the gateway's pod in the cluster."""
    with Store(cloud.state) as store:
        issuer = store.issuers.named("wilab")
        projection = Projection("wisp-system", "wisp-gateway")
        token = service_account_token(issuer, cloud.url + issuer.path, projection, now=store.clock())
    (folder / "token").write_text(token.reveal(), encoding="utf-8")
    return {
        "AZURE_TENANT_ID": tenant,
        "AZURE_FEDERATED_TOKEN_FILE": str(folder / "token"),
        "AZURE_AUTHORITY_HOST": f"{cloud.url}/",
    }


def _get(environment: Mapping[str, str], ca_file: str, key: TokenKey) -> Token | Refused:
    """Get a token as the gateway does for the request with `REQUEST_ID`."""

    async def whole() -> Token | Refused:
        tokens = IdentityTokens.over_process(gateway_settings(ca_file, environment), lambda *_: None)
        try:
            return await tokens.get(key, REQUEST_ID)
        finally:
            tokens.close()

    return asyncio.run(whole())


def test_gateway_of_a_bound_cluster_gets_the_identitys_token_and_the_page_has_its_correlation_id(
    tmp_path: Path,
) -> None:
    """The claims request reaches Entra as it is, and the page says how to find the workload."""
    with running(tmp_path / "cloud.db", "--operation-seconds", "0") as cloud:
        key = _bind(cloud)
        environment = _environment(cloud, key.tenant, tmp_path)
        token = _get(environment, cloud.ca_file, key)
        assert isinstance(token, Token), token
        claims = claims_of(token.access_token.reveal())
        assert (claims["appid"], claims["xms_cc"]) == (key.client_id, ["cp1"])
        assert f"grep {REQUEST_ID}" in _page(cloud, REQUEST_ID)


def test_refusal_of_an_unbound_identity_has_the_callers_correlation_id(tmp_path: Path) -> None:
    """So that the client's error, the gateway's audit line and the page are about the same request."""
    with running(tmp_path / "cloud.db", "--operation-seconds", "0") as cloud:
        key = _bind(cloud)
        environment = _environment(cloud, key.tenant, tmp_path)
        with Store(cloud.state) as store:
            unbound = store.put_identity("RG", "unbound", "eastus")
        refused = _get(environment, cloud.ca_file, key._replace(client_id=unbound.client_id))
        assert isinstance(refused, Refused)
        assert refused.aadsts == 70025
        assert f"Correlation ID: {REQUEST_ID}" in refused.description
        assert "az identity federated-credential create" in _page(cloud, REQUEST_ID)
