"""Identity bindings: their life by the clock, and the federated credential that lets the gateway act."""

from typing import Any

import pytest

from tests.unit.wisp_local.cloud.arm.client import CLUSTERS, IDENTITIES, VERSION, ArmClient, error_of
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, claims_of
from wisp_local.cloud.arm.bearer import Caller
from wisp_local.cloud.arm.bindings import ROUTES
from wisp_local.cloud.arm.handler import Call, WriteLocks
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.cluster import Attachment
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.roles import BUILT_IN

GATEWAY = "system:serviceaccount:wisp-system:wisp-gateway"


def _path(arm: ArmClient, name: str = "ib", cluster: str = "wilab") -> str:
    return f"{arm.group}/{CLUSTERS}/{cluster}/identityBindings/{name}"


def _cluster(arm: ArmClient, name: str = "wilab", **changes: object) -> str:
    """Create a cluster and return its issuer, which is none of its own if it has no OIDC issuer."""
    assert arm.create_cluster(name, **changes).status == 201
    arm.azure.clock.now += 1
    found: str = arm.get(f"{arm.group}/{CLUSTERS}/{name}")["properties"]["oidcIssuerProfile"].get("issuerURL", "")
    return found


def _bound(arm: ArmClient, name: str = "ib", **options: Any) -> dict[str, Any]:
    """Create a binding and return it as it is when the operation has ended."""
    answer = arm.bind(name, **options)
    assert answer.status == 201, answer.body
    arm.azure.clock.now += 1
    found: dict[str, Any] = arm.get(_path(arm, name, options.get("cluster", "wilab")))
    return found


def _credentials(arm: ArmClient) -> dict[str, tuple[str, str]]:
    """Return issuer and subject of the federated credentials that bindings gave the walk-through's identity."""
    credentials = arm.azure.store.federated_credentials(arm.azure.identity)
    return {one.name: (one.issuer, one.subject) for one in credentials if one.name != "wi-demo-federated-id"}


def test_binding_is_created_by_the_clock_and_shown_as_aks_shows_it(arm: ArmClient) -> None:
    """PUT answers 201 with the operation's URL; the binding has the identity's ids and the issuer."""
    issuer = _cluster(arm)
    answer = arm.bind()
    assert (answer.status, answer.json()["properties"]["provisioningState"]) == (201, "Creating")
    assert arm.get(answer.headers["azure-asyncoperation"])["status"] == "InProgress"
    arm.azure.clock.now += 1
    assert arm.get(answer.headers["azure-asyncoperation"])["status"] == "Succeeded"
    shown, identity = arm.get(_path(arm)), arm.azure.identity
    assert shown == {
        "id": f"{arm.subscription}/resourcegroups/WorkloadIdentityRG/{CLUSTERS}/wilab/identityBindings/ib",
        "name": "ib",
        "type": "Microsoft.ContainerService/managedClusters/identityBindings",
        "properties": {
            "managedIdentity": {
                "resourceId": identity.resource_id,
                "objectId": identity.principal_id,
                "clientId": identity.client_id,
                "tenantId": arm.azure.tenant,
            },
            "oidcIssuer": {"oidcIssuerUrl": issuer},
            "provisioningState": "Succeeded",
        },
    }
    assert arm.get(f"{arm.group}/{CLUSTERS}/WILAB/identityBindings")["value"] == [shown]
    assert arm.get(_path(arm, "IB")) == shown


def test_gateway_of_the_cluster_gets_the_identitys_token(arm: ArmClient) -> None:
    """The service account token of the gateway is trusted, with AKS' name for the federated credential."""
    issuer = _cluster(arm)
    _bound(arm)
    assert _credentials(arm) == {"aks-identity-binding": (issuer, GATEWAY)}
    store = arm.azure.store
    projection = Projection("wisp-system", "wisp-gateway")
    token = service_account_token(store.issuers.named("wilab"), issuer, projection, now=store.clock())
    answer = arm.azure.ask(client_assertion=token.reveal())
    assert answer.status == 200, answer.body
    assert claims_of(answer.json()["access_token"])["appid"] == arm.azure.identity.client_id


def test_issuer_of_the_attached_api_server_is_trusted(arm: ArmClient) -> None:
    """The gateway's tokens are of the API server's issuer, also if the cluster shows no issuer."""
    arm.azure.store.clusters.attach(Attachment("wilab", "", "https://issuer.test/"))
    assert _cluster(arm, properties={}) == ""
    assert _bound(arm)["properties"]["oidcIssuer"] == {"oidcIssuerUrl": "https://issuer.test/"}
    assert _credentials(arm) == {"aks-identity-binding": ("https://issuer.test/", GATEWAY)}


def test_cluster_without_an_issuer_gets_one(arm: ArmClient) -> None:
    """AKS binds clusters that have no OIDC issuer; here the gateway needs one, whether the cluster shows it or not."""
    assert _cluster(arm, properties={}) == ""
    assert _bound(arm)["properties"]["oidcIssuer"]["oidcIssuerUrl"].startswith(f"{BASE_URL}/oidc/")


def test_one_credential_serves_every_binding_of_a_cluster(arm: ArmClient) -> None:
    """Several bindings to one identity share it, and so does a credential that somebody else created before."""
    issuer = _cluster(arm)
    assert arm.federate("mine", issuer=issuer, subject=GATEWAY).status == 201
    _bound(arm, "one")
    _bound(arm, "two")
    assert _credentials(arm) == {"mine": (issuer, GATEWAY)}


def test_another_cluster_gets_a_credential_of_its_own(arm: ArmClient) -> None:
    """Unlike on AKS there is an issuer for each cluster: the next free name is used, and no other is replaced."""
    issuers = [_cluster(arm), _cluster(arm, "other")]
    arm.federate("AKS-identity-binding-2", issuer="https://issuer.test/", subject="x")
    _bound(arm)
    _bound(arm, cluster="other")
    assert _credentials(arm) == {
        "aks-identity-binding": (issuers[0], GATEWAY),
        "AKS-identity-binding-2": ("https://issuer.test/", "x"),
        "aks-identity-binding-3": (issuers[1], GATEWAY),
    }


def test_twenty_first_credential_is_refused(arm: ArmClient) -> None:
    """Azure's limit applies to the binding's credential, too; no binding is created then."""
    _cluster(arm)
    for number in range(19):
        assert arm.federate(f"fic{number}").status == 201
    answer = arm.bind()
    assert error_of(answer) == (400, "BadRequest")
    assert "Too many Federated Identity Credentials" in answer.json()["error"]["message"]
    assert arm.get(f"{arm.group}/{CLUSTERS}/wilab/identityBindings")["value"] == []


def test_binding_that_is_put_again_restores_the_credential(arm: ArmClient) -> None:
    """PUT answers 200 at once; a federated credential that somebody deleted is there again."""
    _cluster(arm)
    before = _bound(arm)
    assert arm.ask("DELETE", f"{arm.identity}/federatedIdentityCredentials/aks-identity-binding").status == 200
    answer = arm.bind("IB")
    assert (answer.status, answer.json()) == (200, before)
    assert "aks-identity-binding" in _credentials(arm)


def test_identity_of_a_binding_cannot_change(arm: ArmClient) -> None:
    """The identity is set when the binding is created; the other identity gets no federated credential."""
    _cluster(arm)
    _bound(arm)
    other = f"{arm.group}/{IDENTITIES}/other"
    assert arm.ask("PUT", other, {"location": "eastus"}).status == 201
    assert error_of(arm.bind(identity=other)) == (409, "PropertyChangeNotAllowed")
    assert arm.get(f"{other}/federatedIdentityCredentials")["value"] == []


def test_deleted_binding_leaves_its_credential(arm: ArmClient) -> None:
    """DELETE answers 202, then 204; the credential is not removed with the last binding, as on AKS."""
    _cluster(arm)
    _bound(arm)
    answer = arm.ask("DELETE", _path(arm))
    assert answer.status == 202
    assert arm.ask("DELETE", _path(arm)).status == 202
    assert arm.get(_path(arm))["properties"]["provisioningState"] == "Deleting"
    assert error_of(arm.bind()) == (409, "OperationNotAllowed")
    arm.azure.clock.now += 1
    assert arm.get(answer.headers["azure-asyncoperation"])["status"] == "Succeeded"
    assert error_of(arm.ask("GET", _path(arm))) == (404, "ResourceNotFound")
    assert arm.ask("DELETE", _path(arm)).status == 204
    assert "aks-identity-binding" in _credentials(arm)


def test_operations_in_progress_exclude_others(arm: ArmClient) -> None:
    """A cluster or a binding that is being created cannot be changed meanwhile."""
    assert arm.create_cluster().status == 201
    assert error_of(arm.bind()) == (409, "OperationNotAllowed")
    arm.azure.clock.now += 1
    assert arm.bind().status == 201
    assert error_of(arm.bind()) == (409, "OperationNotAllowed")
    assert error_of(arm.ask("DELETE", _path(arm))) == (409, "OperationNotAllowed")


def test_bindings_are_deleted_with_the_cluster(arm: ArmClient) -> None:
    """So is the credential for its issuer, which never exists again; one that somebody else created stays."""
    issuer = _cluster(arm)
    _bound(arm)
    assert arm.federate("mine", issuer=issuer, subject="x").status == 201
    assert arm.ask("DELETE", f"{arm.group}/{CLUSTERS}/wilab").status == 202
    arm.azure.clock.now += 1
    again = _cluster(arm)
    assert again != issuer
    assert arm.get(f"{arm.group}/{CLUSTERS}/wilab/identityBindings")["value"] == []
    assert _credentials(arm) == {"mine": (issuer, "x")}


def test_bindings_are_deleted_with_the_resource_group(arm: ArmClient) -> None:
    """A group of the same name starts without any."""
    _cluster(arm)
    _bound(arm)
    assert arm.ask("DELETE", arm.group).status == 202
    assert arm.ask("PUT", arm.group, {"location": "eastus"}).status == 201
    _cluster(arm)
    assert arm.get(f"{arm.group}/{CLUSTERS}/wilab/identityBindings")["value"] == []


def test_binding_outlives_its_identity(arm: ArmClient) -> None:
    """It still shows the ids of an identity that was deleted."""
    _cluster(arm)
    before = _bound(arm)
    assert arm.ask("DELETE", arm.identity).status == 200
    assert arm.get(_path(arm)) == before


def test_caller_needs_the_role_for_federated_credentials(arm: ArmClient) -> None:
    """The binding writes a federated credential for the caller, who must be allowed to write it."""
    _cluster(arm)
    store = arm.azure.store
    stranger = ArmClient(arm.azure, store.principals.put("stranger"))
    for identity in (arm.identity, f"{arm.group}/{IDENTITIES}/absent"):
        answer = stranger.bind(identity=identity)
        assert error_of(answer) == (403, "LinkedAuthorizationFailed")
        assert "federatedIdentityCredentials/write" in answer.json()["error"]["message"]
    assert _credentials(arm) == {}
    contributor = next(role for role in BUILT_IN if role.name == "Managed Identity Contributor")
    store.assignments.give(stranger.principal.principal_id, contributor, store.subscription().id)
    assert stranger.bind().status == 201


REFUSED: dict[str, tuple[object, tuple[int, str]]] = {
    "no identity": ("", (400, "InvalidParameter")),
    "an identity that is not text": (7, (400, "InvalidRequestContent")),
    "not a resource id": ("wi-demo-identity", (400, "LinkedInvalidPropertyId")),
    "another type": (f"/subscriptions/x/resourceGroups/y/{CLUSTERS}/z", (400, "LinkedInvalidPropertyId")),
    "below an identity": ("{identity}/federatedIdentityCredentials/x", (400, "LinkedInvalidPropertyId")),
    "an unknown identity": ("{identity}x", (404, "ResourceNotFound")),
}


@pytest.mark.parametrize("identity, expected", REFUSED.values(), ids=REFUSED)
def test_invalid_identity_is_refused(arm: ArmClient, identity: object, expected: tuple[int, str]) -> None:
    """The codes are Resource Manager's for references to other resources."""
    _cluster(arm)
    given = identity.replace("{identity}", arm.identity) if isinstance(identity, str) else identity
    assert error_of(arm.bind(identity=given)) == expected


@pytest.mark.parametrize("name", ["-ib", "ib-", "x" * 64, "a.b"])
def test_invalid_name_is_refused(arm: ArmClient, name: str) -> None:
    """Names follow the rule for clusters."""
    _cluster(arm)
    assert error_of(arm.bind(name)) == (400, "BadRequest")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_cluster_must_exist(arm: ArmClient, method: str) -> None:
    """Without the cluster there is no binding of it, and none can be created."""
    assert error_of(arm.ask(method, _path(arm), {})) == (404, "ParentResourceNotFound")
    assert error_of(arm.ask("GET", f"{arm.group}/{CLUSTERS}/wilab/identityBindings")) == (404, "ParentResourceNotFound")


def test_concurrent_write_to_the_identity_is_refused(arm: ArmClient) -> None:
    """The credential counts as a write to the identity, one at a time; a binding that needs none is created."""
    _cluster(arm)
    store, locks = arm.azure.store, WriteLocks()
    names = {"group": "WorkloadIdentityRG", "cluster": "wilab", "binding": "ib"}
    body = {"properties": {"managedIdentity": {"resourceId": arm.identity}}}
    caller = Caller(arm.principal.client_id, arm.principal.principal_id)
    call = Call(store, BASE_URL, _path(arm), names, {"api-version": VERSION}, body, caller, locks, 1.0)
    put = next(handler for route, handler in ROUTES.items() if route.startswith("PUT "))
    with locks.hold(arm.azure.identity.resource_id):
        with pytest.raises(ResourceError, match="Concurrent Federated Identity Credentials writes"):
            put(call)
        assert store.bindings.of(store.clusters.all()[0]) == []
    _bound(arm, "first")
    with locks.hold(arm.azure.identity.resource_id):
        assert put(call).status == 201
