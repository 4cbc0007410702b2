"""The token gateway and the local cloud: an identity binding, a workload's token, and the page about the exchange."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import urllib3

from tests.support.waiting import wait_until
from tests.unit.wisp.gateway.process import GatewayAnswer, RunningGateway, form, gateway, surroundings
from tests.unit.wisp_local.cloud.process import Running, exchange_secret, running
from tests.unit.wisp_local.cloud.small_azure import claims_of
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.page.audit import AuditedCaller, GatewayExchange, callers
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


class BoundCloud(NamedTuple):
    """A cloud in which an identity is bound to a cluster, and the gateway of that cluster."""

    cloud: Running
    running: RunningGateway
    identity: ManagedIdentity

    def ask(self, client_id: str) -> GatewayAnswer:
        """Ask the gateway for an identity's token, as a pod that may use it."""
        pod = self.running.callers.pod(granted=client_id)
        body = form(self.running.callers.token(pod), client_id, claims=CLAIMS)
        path = f"/{self.identity.tenant_id}/oauth2/v2.0/token"
        return self.running.post(body, path, client_request_id=REQUEST_ID)

    def audited(self) -> list[AuditedCaller]:
        """Return the callers that the page would find in the gateway's log."""
        wait_until(lambda: self.running.audit, "there is an audit line")
        log = b"".join(json.dumps(line).encode() + b"\n" for line in self.running.audit)
        client_id = self.running.audit[0]["clientId"]
        return callers(log, GatewayExchange("wisp-system", REQUEST_ID, client_id, time.time()))


@pytest.fixture(name="bound")
def _bound(tmp_path: Path) -> Iterator[BoundCloud]:
    """Bind an identity to a cluster, and run a gateway with the service account token of that cluster."""
    with running(tmp_path / "cloud.db", "--operation-seconds", "0") as cloud:
        identity = _bind(cloud)
        with _gateway(cloud, identity, tmp_path) as process:
            yield BoundCloud(cloud, process, identity)


def _bind(cloud: Running) -> ManagedIdentity:
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
    return identity


@contextmanager
def _gateway(cloud: Running, identity: ManagedIdentity, folder: Path) -> Iterator[RunningGateway]:
    with Store(cloud.state) as store:
        issuer = store.issuers.named("wilab")
        projection = Projection("wisp-system", "wisp-gateway")
        token = service_account_token(issuer, cloud.url + issuer.path, projection, now=store.clock())
    (folder / "token").write_text(token.reveal(), encoding="utf-8")
    with (
        surroundings(folder) as (api, entra),
        gateway(
            api,
            entra,
            folder,
            *("--authority-ca", cloud.ca_file),
            AZURE_TENANT_ID=identity.tenant_id,
            AZURE_FEDERATED_TOKEN_FILE=str(folder / "token"),
            AZURE_AUTHORITY_HOST=f"{cloud.url}/",
        ) as process,
    ):
        process.await_ready()
        yield process


def test_workload_of_a_bound_cluster_gets_the_identitys_token(bound: BoundCloud) -> None:
    """The claims request reaches Entra as it is; the audit line has the correlation id that the page shows."""
    answer = bound.ask(bound.identity.client_id)
    assert answer.status == 200, answer
    claims = claims_of(answer.document["access_token"])
    assert (claims["appid"], claims["xms_cc"]) == (bound.identity.client_id, ["cp1"])
    assert f"grep {REQUEST_ID}" in _page(bound.cloud, REQUEST_ID)
    (caller,) = bound.audited()
    assert caller.result == "granted"


def test_identity_that_is_not_bound_is_refused_with_the_callers_correlation_id(bound: BoundCloud) -> None:
    """The client's error, the gateway's audit line and the page are about the same request."""
    with Store(bound.cloud.state) as store:
        unbound = store.put_identity("RG", "unbound", "eastus")
    answer = bound.ask(unbound.client_id)
    assert (answer.status, answer.document["error_codes"]) == (401, [70025])
    assert answer.document["correlation_id"] == REQUEST_ID
    assert "az identity federated-credential create" in _page(bound.cloud, REQUEST_ID)
    (caller,) = bound.audited()
    assert caller.result == "refused"
