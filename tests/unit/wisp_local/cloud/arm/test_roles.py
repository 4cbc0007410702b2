"""Role definitions and assignments, and Microsoft Graph."""

import pytest

from tests.unit.wisp_local.cloud.arm.client import ArmClient, error_of
from tests.unit.wisp_local.cloud.small_azure import BASE_URL

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


NAME = "11111111-2222-4333-8444-555555555555"


ROLES = "providers/Microsoft.Authorization/roleAssignments"


def test_role_is_assigned_listed_by_scope_and_deleted(arm: ArmClient) -> None:
    """Assigning again is a conflict; it is listed at the scope, above and below; DELETE answers 200, then 204."""
    body = {"properties": {"roleDefinitionId": f"/x/{READER}", "principalId": arm.azure.identity.principal_id}}
    path = f"{arm.group}/{ROLES}/{NAME}"
    assert arm.ask("PUT", path, body).status == 201
    assert error_of(arm.ask("PUT", path, body)) == (409, "RoleAssignmentExists")
    other = path.replace(NAME, NAME.replace("1", "2"))
    assert error_of(arm.ask("PUT", other, body)) == (409, "RoleAssignmentExists")
    for scope in (arm.subscription, arm.group, arm.identity):
        assert NAME in [each["name"] for each in arm.get(f"{scope}/{ROLES}")["value"]]
    elsewhere = f"{arm.subscription}/resourceGroups/WorkloadIdentityRG2"
    assert NAME not in [each["name"] for each in arm.get(f"{elsewhere}/{ROLES}")["value"]]
    for principal, count in ((arm.azure.identity.principal_id, 1), (NAME, 0)):
        filtered = f"{arm.group}/{ROLES}?$filter=principalId%20eq%20'{principal}'"
        assert len(arm.get(filtered)["value"]) == count
    assert arm.get(path)["properties"]["scope"] == arm.group
    assert arm.ask("DELETE", f"{arm.subscription}/{ROLES}/{NAME}").status == 204
    assert arm.get(path)["name"] == NAME
    assert [arm.ask("DELETE", path).status for _ in range(2)] == [200, 204]
    assert error_of(arm.ask("GET", path)) == (404, "RoleAssignmentNotFound")


@pytest.mark.parametrize(
    "properties, code",
    [
        ({"roleDefinitionId": "none", "principalId": NAME}, "RoleDefinitionDoesNotExist"),
        ({"roleDefinitionId": READER, "principalId": "me"}, "BadRequest"),
    ],
)
def test_invalid_role_assignment_is_refused(arm: ArmClient, properties: dict[str, str], code: str) -> None:
    """The role must be one of Azure's, the principal a GUID."""
    answer = arm.ask("PUT", f"{arm.group}/{ROLES}/{NAME}", {"properties": properties})
    assert error_of(answer) == (400, code)


def test_role_definitions_are_found_by_name_and_id(arm: ArmClient) -> None:
    """An unknown role is a 404."""
    roles = f"{arm.subscription}/providers/Microsoft.Authorization/roleDefinitions"
    (found,) = arm.get(f"{roles}?$filter=roleName%20eq%20'reader'")["value"]
    assert (found["name"], found["properties"]["roleName"]) == (READER, "Reader")
    assert arm.get(f"{roles}/{READER}")["id"] == found["id"]
    assert error_of(arm.ask("GET", f"{roles}/{NAME}")) == (404, "RoleDefinitionDoesNotExist")
    assert len(arm.get(roles)["value"]) > 5


def test_graph_finds_principals_and_applications(arm: ArmClient) -> None:
    """By client id, as `az` filters, by object id, and several at once."""
    identity, caller = arm.azure.identity, arm.principal
    arm.fixed_token = arm.token(aud=f"{BASE_URL}/")
    for asked in (f"appId eq '{identity.client_id}'", f"servicePrincipalNames/any(c:c eq '{identity.client_id}')"):
        (found,) = arm.get(f"/v1.0/servicePrincipals?$filter={asked.replace(' ', '%20')}")["value"]
        assert (found["id"], found["servicePrincipalType"]) == (identity.principal_id, "ManagedIdentity")
    assert arm.get(f"/v1.0/servicePrincipals/{caller.principal_id}")["appId"] == caller.client_id
    assert arm.ask("GET", f"/v1.0/servicePrincipals/{NAME}").status == 404
    ids = {"ids": [identity.principal_id, NAME]}
    assert len(arm.ask("POST", "/v1.0/directoryObjects/getByIds", ids).json()["value"]) == 1
    (found,) = arm.get(f"/v1.0/applications?$filter=appId%20eq%20'{caller.client_id}'")["value"]
    assert found["id"] == caller.object_id
    assert arm.ask("GET", "/v1.0/servicePrincipals?$filter=startswith(a,'b')").status == 400
    assert arm.ask("GET", "/v1.0/me").status == 400
