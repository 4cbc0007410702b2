"""Who gets a token from the gateway, with the real API server as the judge of service account tokens and RBAC."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster import gateway as gate
from tests.cluster.api import Api, api
from tests.cluster.cluster import Cluster, eventually
from tests.cluster.gateway import Caller, Outcome
from tests.cluster.manifests import account, namespace
from tests.cluster.stream import gated_pod
from tests.cluster.team import payload
from wisp.gateway.types import AUDIENCE
from wisp_local.cloud.issuer import SigningKey, kubernetes_key_id, new_rsa_key, read_pem

pytestmark = pytest.mark.cluster
PLACE = "callers"
GRANTED, STRANGER = "granted", "stranger"
"""Service accounts, with and without a grant."""
PODS = f"/api/v1/namespaces/{PLACE}/pods"


@dataclass(frozen=True)
class Site:
    """The cluster, and an identity that the service account `granted` may use."""

    cluster: Cluster
    api: Api
    client_id: str

    def token(self, account: str = GRANTED, **spec: Any) -> str:
        """Return a service account token for the gateway."""
        return gate.token(self.api, PLACE, account, **spec)

    def pod_token(self, name: str, **metadata: Any) -> str:
        """Make a pod that is never scheduled, and return a token that is bound to it."""
        pod = gated_pod(name, GRANTED)
        pod["metadata"] = {"name": name, **metadata}
        made = self.api.ask("POST", PODS, pod)
        assert made.status == 201, made
        bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": made.document["metadata"]["uid"]}
        return self.token(boundObjectRef=bound)

    def ask(self, token: str, client_id: str = "", tenant: str = "") -> Outcome:
        """Send a token request."""
        (outcome,) = gate.ask(self.cluster, Caller("caller", token, client_id or self.client_id), tenant=tenant)
        return outcome

    def grant(self, verb: str = "grant", account: str = GRANTED) -> None:
        """Grant the identity, or revoke the grant."""
        options = (f"--client-id={self.client_id}", f"--service-account={PLACE}/{account}")
        gate.wisp_gateway(self.cluster, verb, *options)


@pytest.fixture(name="site", scope="module")
def _site(gateway: Cluster) -> Iterator[Site]:
    made = gate.identity(gateway, PLACE)
    gateway.apply(namespace(PLACE, {}))
    accounts = [account(made.client_id, name) for name in (GRANTED, STRANGER)]
    gateway.apply(*({**item, "metadata": {**item["metadata"], "namespace": PLACE}} for item in accounts))
    with api(gateway) as administrator:
        site = Site(gateway, administrator, made.client_id)
        site.grant()
        eventually(lambda: site.ask(site.token()).status == 200, "the grant")
        yield site
    gateway.kubectl("delete", "namespace", PLACE, "--wait=false")
    gate.remove_grants(gateway, made.client_id)


def _is_unauthenticated(outcome: Outcome) -> bool:
    return (outcome.status, outcome.error, outcome.client_id) == (401, "invalid_client", "")


def test_client_id_is_the_same_in_upper_case(site: Site) -> None:
    """RBAC has it in lower case."""
    outcome = site.ask(site.token(), site.client_id.upper())
    assert (outcome.status, outcome.client_id) == (200, site.client_id)


def test_account_without_a_grant_is_refused(site: Site) -> None:
    """The description names it, and the command that grants the identity."""
    outcome = site.ask(site.token(STRANGER))
    assert _is_unauthenticated(outcome)
    assert f"--serviceaccount={PLACE}:{STRANGER}" in outcome.description
    assert f"wisp-gateway:{site.client_id}:{PLACE}:{STRANGER}" in outcome.description


def test_grant_of_one_identity_is_not_one_of_another(site: Site) -> None:
    """The caller's service account may use one identity only."""
    other = gate.identity(site.cluster, f"{PLACE}-other")
    outcome = site.ask(site.token(), other.client_id)
    assert _is_unauthenticated(outcome)
    assert other.client_id in outcome.description


def test_other_tenant_is_refused(site: Site) -> None:
    """Whatever RBAC allows."""
    outcome = site.ask(site.token(), tenant="00000000-0000-4000-8000-00000000cafe")
    assert outcome.status in {400, 401}
    assert "AADSTS90002" in outcome.description


def _unsigned(_: Site, claims: Mapping[str, Any]) -> str:
    return ".".join((_encoded({"alg": "none"}), _encoded(claims), ""))


def _encoded(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _by_another_key(site: Site, claims: Mapping[str, Any]) -> str:
    """Sign as another cluster does, with this cluster's key id."""
    return SigningKey(_key_id(site), new_rsa_key(), {}).sign({}, claims).reveal()


def _expired(site: Site, claims: Mapping[str, Any]) -> str:
    """Sign with the cluster's own key a token that expired a minute ago."""
    now = int(time.time())
    return _signed(site, {**claims, "iat": now - 3600, "nbf": now - 3600, "exp": now - 60})


def _early(site: Site, claims: Mapping[str, Any]) -> str:
    now = int(time.time())
    return _signed(site, {**claims, "iat": now + 3600, "nbf": now + 3600, "exp": now + 7200})


def _of_another_issuer(site: Site, claims: Mapping[str, Any]) -> str:
    return _signed(site, {**claims, "iss": "https://another.cluster.test/"})


def _changed(site: Site, claims: Mapping[str, Any]) -> str:
    """Put another service account into a signed token."""
    header, _, signature = site.token().split(".")
    return ".".join((header, _encoded({**claims, "sub": f"system:serviceaccount:{PLACE}:{STRANGER}"}), signature))


def _signed(site: Site, claims: Mapping[str, Any]) -> str:
    return _cluster_key(site).sign({}, claims).reveal()


def _cluster_key(site: Site) -> SigningKey:
    private = read_pem((site.cluster.node.layout.pki / "service-accounts.key").read_bytes())
    return SigningKey(kubernetes_key_id(private.public_key()), private, {})


def _key_id(site: Site) -> str:
    return _cluster_key(site).key_id


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(_unsigned, id="unsigned"),
        pytest.param(_by_another_key, id="another cluster's key"),
        pytest.param(_of_another_issuer, id="another issuer"),
        pytest.param(_expired, id="expired"),
        pytest.param(_early, id="not valid yet"),
        pytest.param(_changed, id="changed"),
    ],
)
def test_forged_token_is_refused(site: Site, forge: Callable[[Site, Mapping[str, Any]], str]) -> None:
    """Although its service account has a grant."""
    assert _is_unauthenticated(site.ask(forge(site, payload(site.token()))))


def test_tokens_of_the_table_differ_from_a_valid_one_in_what_is_tested(site: Site) -> None:
    """A token with the same claims, signed in the same way, is accepted."""
    assert site.ask(_signed(site, payload(site.token()))).status == 200


@pytest.mark.parametrize("audiences", [["api://AzureADTokenExchange"], ["https://kubernetes.default.svc"]], ids=str)
def test_token_for_another_audience_is_refused(site: Site, audiences: list[str]) -> None:
    """In particular one for Entra, and one for the API server."""
    assert _is_unauthenticated(site.ask(site.token(audiences=audiences)))


def test_one_audience_of_several_is_enough(site: Site) -> None:
    """As for the API server."""
    assert site.ask(site.token(audiences=["another", AUDIENCE])).status == 200


def test_token_of_a_deleted_account_is_refused(site: Site) -> None:
    """Also if another account of the same name was made since."""
    name = "short-lived"
    manifest = account(site.client_id, name)
    made = {**manifest, "metadata": {**manifest["metadata"], "namespace": PLACE}}
    site.cluster.apply(made)
    site.grant(account=name)
    token = site.token(name)
    site.cluster.kubectl("delete", "serviceaccount", name, "-n", PLACE)
    site.cluster.apply(made)
    assert _is_unauthenticated(site.ask(token))


def test_token_of_a_deleted_pod_is_refused(site: Site) -> None:
    """Immediately, or after the caches of gateway and API server if it was used just before."""
    unused, used = site.pod_token("unused"), site.pod_token("used")
    assert site.ask(used).status == 200
    for name in ("unused", "used"):
        assert site.api.ask("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0").status == 200
    assert _is_unauthenticated(site.ask(unused))
    eventually(lambda: site.ask(used).status == 401, "the end of the caches")


def test_terminating_pod_still_gets_its_token(site: Site) -> None:
    """An application may need one to end in order: the API server accepts its token until it is gone."""
    token = site.pod_token("ending", finalizers=["wisp.test/never"])
    assert site.api.ask("DELETE", f"{PODS}/ending?gracePeriodSeconds=0").status == 200
    assert "deletionTimestamp" in site.api.ask("GET", f"{PODS}/ending").document["metadata"]
    assert site.ask(token).status == 200
    assert site.api.ask("PATCH", f"{PODS}/ending", {"metadata": {"finalizers": None}}).status == 200


def test_revoked_grant_takes_effect(site: Site) -> None:
    """For a token that was used just before. Granted again, the same token is good again."""
    token = site.token()
    assert site.ask(token).status == 200
    site.grant("revoke")
    eventually(lambda: site.ask(token).status == 401, "the end of the grant")
    assert _is_unauthenticated(site.ask(site.token()))
    site.grant()
    eventually(lambda: site.ask(token).status == 200, "the grant")
