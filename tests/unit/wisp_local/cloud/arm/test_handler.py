"""Requests that need a role assignment, and concurrent writes of federated credentials."""

import json

import pytest

from tests.unit.wisp_local.cloud.arm.client import CLUSTERS, IDENTITIES, ArmClient, error_of
from tests.unit.wisp_local.cloud.asgi import Answer
from wisp_local.cloud.arm.handler import WriteLocks
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.roles import (
    BUILT_IN,
    DELETE_ROLE_ASSIGNMENT,
    LIST_CLUSTER_ADMIN_CREDENTIAL,
    LIST_CLUSTER_USER_CREDENTIAL,
    WRITE_FEDERATED_CREDENTIAL,
    WRITE_ROLE_ASSIGNMENT,
)

NAME = "11111111-2222-4333-8444-555555555555"


ROLES = "providers/Microsoft.Authorization/roleAssignments"


CLUSTER_ADMIN, CLUSTER_USER = (f"Azure Kubernetes Service Cluster {kind} Role" for kind in ("Admin", "User"))


GUIDS = {each.name: each.guid for each in BUILT_IN}


KUBECONFIG = json.dumps(
    {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "users": [{"name": "u", "user": {"token": "the-administrators-own"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
)


@pytest.fixture(name="pod")
def _pod(arm: ArmClient) -> ArmClient:
    """Return a client with the token of a managed identity without a role, next to a cluster with an API server."""
    arm.azure.store.clusters.attach(Attachment(ANY, KUBECONFIG))
    arm.create_cluster()
    arm.azure.clock.now += 1
    token = arm.azure.ask(scope="https://management.azure.com//.default").json()["access_token"]
    return ArmClient(arm.azure, arm.principal, token)


def _cluster(arm: ArmClient) -> str:
    return f"{arm.group}/{CLUSTERS}/wilab"


def _assignment(arm: ArmClient, role: str) -> dict[str, object]:
    return {"properties": {"roleDefinitionId": GUIDS[role], "principalId": arm.azure.identity.principal_id}}


def _give(arm: ArmClient, role: str, scope: str, name: str = NAME) -> None:
    assert arm.ask("PUT", f"{scope}/{ROLES}/{name}", _assignment(arm, role)).status == 201


def _attempts(pod: ArmClient) -> dict[str, Answer]:
    """Try everything that could give a pod access to the cluster, directly or by assigning a role."""
    credential = {"properties": {"issuer": "https://i.test/", "subject": "s", "audiences": ["a"]}}
    return {
        LIST_CLUSTER_ADMIN_CREDENTIAL: pod.ask("POST", f"{_cluster(pod)}/listClusterAdminCredential"),
        LIST_CLUSTER_USER_CREDENTIAL: pod.ask("POST", f"{_cluster(pod)}/listClusterUserCredential"),
        WRITE_FEDERATED_CREDENTIAL: pod.ask("PUT", f"{pod.identity}/federatedIdentityCredentials/mine", credential),
        WRITE_ROLE_ASSIGNMENT: pod.ask("PUT", f"{pod.group}/{ROLES}/{NAME}", _assignment(pod, "Owner")),
        DELETE_ROLE_ASSIGNMENT: pod.ask("DELETE", f"{pod.group}/{ROLES}/{NAME}"),
    }


def test_identity_without_a_role_gets_no_kubeconfig_and_no_role(pod: ArmClient) -> None:
    """Every attempt is Azure's 403, and nothing has changed."""
    before = pod.azure.store.assignments.all()
    for action, answer in _attempts(pod).items():
        assert error_of(answer) == (403, "AuthorizationFailed"), action
        assert f"to perform action '{action}'" in answer.json()["error"]["message"]
        assert b"kubeconfig" not in answer.body
    assert pod.azure.store.assignments.all() == before
    assert len(pod.azure.store.federated_credentials(pod.azure.identity)) == 1


@pytest.mark.parametrize("spelling", [str.upper, str.lower, lambda path: path.replace("wilab", "w%69lab")])
def test_refusal_names_client_action_and_scope_for_any_spelling_of_the_path(pod: ArmClient, spelling: object) -> None:
    """The message is Azure's."""
    assert callable(spelling)
    path = spelling(f"{_cluster(pod)}/listClusterAdminCredential")
    answer = pod.ask("POST", path)
    assert error_of(answer) == (403, "AuthorizationFailed")
    identity = pod.azure.identity
    expected = (
        f"The client '{identity.client_id}' with object id '{identity.principal_id}' does not have authorization to "
        f"perform action '{LIST_CLUSTER_ADMIN_CREDENTIAL}' over scope '{_cluster(pod)}' or the scope is invalid. If "
        "access was recently granted, please refresh your credentials."
    )
    assert answer.json()["error"]["message"].lower() == expected.lower()


def test_subscription_owner_gets_the_kubeconfigs(arm: ArmClient, pod: ArmClient) -> None:
    """`wisp lab up` makes its own login the owner."""
    assert pod.azure is arm.azure
    for kind in ("User", "Admin"):
        assert arm.ask("POST", f"{_cluster(arm)}/listCluster{kind}Credential").status == 200


@pytest.mark.parametrize("role", [CLUSTER_ADMIN, CLUSTER_USER])
@pytest.mark.parametrize("scope", ["cluster", "group", "subscription"])
def test_cluster_role_allows_only_its_own_kubeconfig(arm: ArmClient, pod: ArmClient, role: str, scope: str) -> None:
    """At the cluster or above it, each of the two roles allows one of the two kubeconfigs."""
    _give(arm, role, {"cluster": _cluster(arm), "group": arm.group, "subscription": arm.subscription}[scope])
    allowed = {action for action, answer in _attempts(pod).items() if answer.status == 200}
    kind = LIST_CLUSTER_ADMIN_CREDENTIAL if role == CLUSTER_ADMIN else LIST_CLUSTER_USER_CREDENTIAL
    assert allowed == {kind}
    arm.ask("DELETE", f"{arm.group}/{ROLES}/{NAME}")


@pytest.mark.parametrize("other", ["another cluster", "another group", "a longer name", "an identity"])
def test_role_at_another_scope_allows_nothing(arm: ArmClient, pod: ArmClient, other: str) -> None:
    """A scope covers what is below it, by complete segments of the path."""
    scope = {
        "another cluster": f"{arm.group}/{CLUSTERS}/other",
        "another group": f"{arm.subscription}/resourceGroups/other",
        "a longer name": arm.group[:-1],
        "an identity": f"{arm.group}/{IDENTITIES}/wi-demo-identity",
    }[other]
    _give(arm, "Owner", scope)
    assert error_of(pod.ask("POST", f"{_cluster(pod)}/listClusterAdminCredential")) == (403, "AuthorizationFailed")


def test_deleted_role_assignment_allows_nothing(arm: ArmClient, pod: ArmClient) -> None:
    """The deletion takes effect at once: no decision is cached."""
    _give(arm, "Owner", arm.subscription)
    assert pod.ask("POST", f"{_cluster(pod)}/listClusterAdminCredential").status == 200
    assert arm.ask("DELETE", f"{arm.subscription}/{ROLES}/{NAME}").status == 200
    assert pod.ask("POST", f"{_cluster(pod)}/listClusterAdminCredential").status == 403


def test_assigning_a_role_twice_changes_nothing(arm: ArmClient) -> None:
    """`wisp lab up` assigns its role every time."""
    store = arm.azure.store
    before = store.assignments.all()
    store.assignments.give(arm.principal.principal_id, BUILT_IN[0], store.subscription().id)
    assert store.assignments.all() == before
    assert len(before) == 1


def test_second_write_to_an_identity_is_refused(arm: ArmClient) -> None:
    """Another write to the same identity gets Azure's 409; other identities are independent."""
    locks = WriteLocks()
    with locks.hold("/a"):
        with pytest.raises(ResourceError) as caught, locks.hold("/A"):
            pass
        assert (caught.value.status, caught.value.code) == (
            409,
            "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
        )
        with locks.hold("/b"):
            pass
    with locks.hold("/a"):
        pass
    assert arm.federate("one").status == 201


def test_write_holds_the_identity_for_its_duration() -> None:
    """Meanwhile another write is refused, as on Azure."""
    events: list[object] = []

    def wait(seconds: float) -> None:
        events.append(seconds)
        with pytest.raises(ResourceError) as caught, locks.hold("/a"):
            pass
        events.append(caught.value.status)

    locks = WriteLocks(0.25, wait)
    with locks.hold("/a"):
        pass
    assert events == [0.25, 409]
