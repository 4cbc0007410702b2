"""Which actions Azure's built-in roles allow."""

import pytest

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


CLUSTER_ADMIN, CLUSTER_USER = (f"Azure Kubernetes Service Cluster {kind} Role" for kind in ("Admin", "User"))


GUIDS = {role.name: role.guid for role in BUILT_IN}


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
def test_built_in_roles_allow_the_actions_that_azures_do(role: str) -> None:
    """Of the actions that are checked here; the roles that are not in the table allow none of them."""
    assignment = RoleAssignment(NAME, "/subscriptions/s", f"/x/{GUIDS[role].upper()}", NAME, "ServicePrincipal", 0)
    allowed = {
        action for action in ALLOWED["Owner"] if is_allowed([assignment], NAME.upper(), action, "/SUBSCRIPTIONS/s/x")
    }
    assert allowed == ALLOWED.get(role, set())
    assert not any(
        is_allowed([assignment], GUIDS["Reader"], action, "/subscriptions/s/x") for action in ALLOWED["Owner"]
    )
