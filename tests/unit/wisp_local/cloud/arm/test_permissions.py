"""Requests to Resource Manager that need a role assignment, and which of Azure's roles allow them."""

import json

import pytest

from tests.unit.wisp_local.cloud.arm.client import CLUSTERS, IDENTITIES, Azure, problem
from tests.unit.wisp_local.cloud.asgi import Answer
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.roles import (
    BUILT_IN,
    DELETE_ROLE_ASSIGNMENT,
    LIST_CLUSTER_ADMIN_CREDENTIAL,
    LIST_CLUSTER_USER_CREDENTIAL,
    WRITE_FEDERATED_CREDENTIAL,
    WRITE_ROLE_ASSIGNMENT,
    RoleAssignment,
    is_allowed,
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
def _pod(azure: Azure) -> Azure:
    """Give the walk-through's pod: a managed identity without a role, beside a cluster that has an API server."""
    azure.world.store.clusters.attach(Attachment(ANY, KUBECONFIG))
    azure.create_cluster()
    azure.world.clock.now += 1
    token = azure.world.ask(scope="https://management.azure.com//.default").json()["access_token"]
    return Azure(azure.world, azure.principal, token)


def _cluster(azure: Azure) -> str:
    return f"{azure.group}/{CLUSTERS}/wilab"


def _assignment(azure: Azure, role: str) -> dict[str, object]:
    return {"properties": {"roleDefinitionId": GUIDS[role], "principalId": azure.world.identity.principal_id}}


def _give(azure: Azure, role: str, scope: str, name: str = NAME) -> None:
    assert azure.ask("PUT", f"{scope}/{ROLES}/{name}", _assignment(azure, role)).status == 201


def _attempts(pod: Azure) -> dict[str, Answer]:
    """Try everything with which a pod could get at the cluster, directly or by giving itself or a friend a role."""
    credential = {"properties": {"issuer": "https://i.test/", "subject": "s", "audiences": ["a"]}}
    return {
        LIST_CLUSTER_ADMIN_CREDENTIAL: pod.ask("POST", f"{_cluster(pod)}/listClusterAdminCredential"),
        LIST_CLUSTER_USER_CREDENTIAL: pod.ask("POST", f"{_cluster(pod)}/listClusterUserCredential"),
        WRITE_FEDERATED_CREDENTIAL: pod.ask("PUT", f"{pod.identity}/federatedIdentityCredentials/mine", credential),
        WRITE_ROLE_ASSIGNMENT: pod.ask("PUT", f"{pod.group}/{ROLES}/{NAME}", _assignment(pod, "Owner")),
        DELETE_ROLE_ASSIGNMENT: pod.ask("DELETE", f"{pod.group}/{ROLES}/{NAME}"),
    }


def test_a_pods_identity_gets_no_kubeconfig_and_no_way_to_one(pod: Azure) -> None:
    """Without a role, all of it is Azure's 403, and nothing has changed."""
    before = pod.world.store.assignments.all()
    for action, answer in _attempts(pod).items():
        assert problem(answer) == (403, "AuthorizationFailed"), action
        assert f"to perform action '{action}'" in answer.json()["error"]["message"]
        assert b"kubeconfig" not in answer.body
    assert pod.world.store.assignments.all() == before
    assert len(pod.world.store.federated_credentials(pod.world.identity)) == 1


@pytest.mark.parametrize("spelling", [str.upper, str.lower, lambda path: path.replace("wilab", "w%69lab")])
def test_a_refusal_is_in_azures_words_however_the_path_is_spelled(pod: Azure, spelling: object) -> None:
    """It names the client, the action and the resource."""
    assert callable(spelling)
    path = spelling(f"{_cluster(pod)}/listClusterAdminCredential")
    answer = pod.ask("POST", path)
    assert problem(answer) == (403, "AuthorizationFailed")
    identity = pod.world.identity
    expected = (
        f"The client '{identity.client_id}' with object id '{identity.principal_id}' does not have authorization to "
        f"perform action '{LIST_CLUSTER_ADMIN_CREDENTIAL}' over scope '{_cluster(pod)}' or the scope is invalid. If "
        "access was recently granted, please refresh your credentials."
    )
    assert answer.json()["error"]["message"].lower() == expected.lower()


def test_the_subscriptions_owner_gets_the_kubeconfig(azure: Azure, pod: Azure) -> None:
    """Which is what `wisp lab up` makes its own login."""
    assert pod.world is azure.world
    for kind in ("User", "Admin"):
        assert azure.ask("POST", f"{_cluster(azure)}/listCluster{kind}Credential").status == 200


@pytest.mark.parametrize("role", [CLUSTER_ADMIN, CLUSTER_USER])
@pytest.mark.parametrize("scope", ["cluster", "group", "subscription"])
def test_a_cluster_role_gives_its_own_kubeconfig_only(azure: Azure, pod: Azure, role: str, scope: str) -> None:
    """At the cluster or above it: the administrator's to one role, the user's to the other, and nothing else."""
    _give(azure, role, {"cluster": _cluster(azure), "group": azure.group, "subscription": azure.subscription}[scope])
    allowed = {action for action, answer in _attempts(pod).items() if answer.status == 200}
    kind = LIST_CLUSTER_ADMIN_CREDENTIAL if role == CLUSTER_ADMIN else LIST_CLUSTER_USER_CREDENTIAL
    assert allowed == {kind}
    azure.ask("DELETE", f"{azure.group}/{ROLES}/{NAME}")


@pytest.mark.parametrize("other", ["another cluster", "another group", "a longer name", "an identity"])
def test_a_role_elsewhere_gives_nothing(azure: Azure, pod: Azure, other: str) -> None:
    """A scope covers what is below it, by whole segments of the path."""
    scope = {
        "another cluster": f"{azure.group}/{CLUSTERS}/other",
        "another group": f"{azure.subscription}/resourceGroups/other",
        "a longer name": azure.group[:-1],
        "an identity": f"{azure.group}/{IDENTITIES}/wi-demo-identity",
    }[other]
    _give(azure, "Owner", scope)
    assert problem(pod.ask("POST", f"{_cluster(pod)}/listClusterAdminCredential")) == (403, "AuthorizationFailed")


def test_a_role_that_was_taken_away_gives_nothing(azure: Azure, pod: Azure) -> None:
    """At once: no answer is kept."""
    _give(azure, "Owner", azure.subscription)
    assert pod.ask("POST", f"{_cluster(pod)}/listClusterAdminCredential").status == 200
    assert azure.ask("DELETE", f"{azure.subscription}/{ROLES}/{NAME}").status == 200
    assert pod.ask("POST", f"{_cluster(pod)}/listClusterAdminCredential").status == 403


def test_a_role_is_given_once(azure: Azure) -> None:
    """However often `wisp lab up` makes its login the owner."""
    store = azure.world.store
    before = store.assignments.all()
    store.assignments.give(azure.principal.principal_id, BUILT_IN[0], store.subscription().id)
    assert store.assignments.all() == before
    assert len(before) == 1


ALLOWED = {
    "Owner": {
        LIST_CLUSTER_ADMIN_CREDENTIAL,
        LIST_CLUSTER_USER_CREDENTIAL,
        WRITE_FEDERATED_CREDENTIAL,
        WRITE_ROLE_ASSIGNMENT,
        DELETE_ROLE_ASSIGNMENT,
    },
    "Contributor": {LIST_CLUSTER_ADMIN_CREDENTIAL, LIST_CLUSTER_USER_CREDENTIAL, WRITE_FEDERATED_CREDENTIAL},
    "User Access Administrator": {WRITE_ROLE_ASSIGNMENT, DELETE_ROLE_ASSIGNMENT},
    CLUSTER_ADMIN: {LIST_CLUSTER_ADMIN_CREDENTIAL},
    CLUSTER_USER: {LIST_CLUSTER_USER_CREDENTIAL},
    "Azure Kubernetes Service Contributor Role": {LIST_CLUSTER_ADMIN_CREDENTIAL, LIST_CLUSTER_USER_CREDENTIAL},
    "Managed Identity Contributor": {WRITE_FEDERATED_CREDENTIAL},
}


@pytest.mark.parametrize("role", GUIDS)
def test_roles_allow_what_azures_do(role: str) -> None:
    """Of the actions that are checked here; the roles that are not in the table allow none of them."""
    assignment = RoleAssignment(NAME, "/subscriptions/s", f"/x/{GUIDS[role].upper()}", NAME, "ServicePrincipal", 0)
    allowed = {each for each in ALLOWED["Owner"] if is_allowed([assignment], NAME.upper(), each, "/SUBSCRIPTIONS/s/x")}
    assert allowed == ALLOWED.get(role, set())
    assert not any(is_allowed([assignment], GUIDS["Reader"], each, "/subscriptions/s/x") for each in ALLOWED["Owner"])
