"""Role definitions and assignments, as far as `az role assignment` needs them; they are kept and not enforced.

https://learn.microsoft.com/rest/api/authorization/role-assignments
"""

import re
from collections.abc import Mapping

from wisp.cloud.arm import problem, reading
from wisp.cloud.arm.call import Call, Reply
from wisp.cloud.arm.operations import instant
from wisp.cloud.assignments import RoleAssignment
from wisp.cloud.names import is_guid

_ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
_DEFINITION = "Microsoft.Authorization/roleDefinitions"
_BUILT_IN = {  # https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
    "Owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "User Access Administrator": "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
    "Managed Identity Operator": "f1a07417-d97a-45cb-824c-7a7467783830",
    "Managed Identity Contributor": "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
    "Network Contributor": "4d97b98b-1d4f-4787-a291-c67834d212e7",
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
}
_EQUALS = re.compile(r"\b(\w+)\s+eq\s+'([^']*)'")


def _filters(call: Call) -> Mapping[str, str]:
    """Read what `$filter` compares with `eq`; `atScope()` and the like narrow nothing here."""
    return {name.lower(): value for name, value in _EQUALS.findall(call.query.get("$filter", ""))}


def _definition(call: Call, name: str, guid: str) -> Mapping[str, object]:
    return {
        "id": f"/subscriptions/{call.store.subscription().id}/providers/{_DEFINITION}/{guid}",
        "name": guid,
        "type": _DEFINITION,
        "properties": {
            "roleName": name,
            "type": "BuiltInRole",
            "description": f"Azure's built-in role {name}; this local cloud enforces no role.",
            "assignableScopes": ["/"],
            "permissions": [{"actions": [], "notActions": [], "dataActions": [], "notDataActions": []}],
        },
    }


def _list_definitions(call: Call) -> Reply:
    wanted = _filters(call).get("rolename", "").lower()
    found = [(name, guid) for name, guid in _BUILT_IN.items() if wanted in ("", name.lower())]
    return Reply(200, {"value": [_definition(call, *each) for each in found]})


def _show_definition(call: Call) -> Reply:
    for name, guid in _BUILT_IN.items():
        if guid == call.names["definition"].lower():
            return Reply(200, _definition(call, name, guid))
    message = f"The specified role definition with ID '{call.names['definition']:.80}' does not exist."
    raise problem.ResourceError(404, "RoleDefinitionDoesNotExist", message)


def _rendered(assignment: RoleAssignment) -> Mapping[str, object]:
    scope = "" if assignment.scope == "/" else assignment.scope
    return {
        "id": f"{scope}/providers/{_ASSIGNMENT}/{assignment.name}",
        "name": assignment.name,
        "type": _ASSIGNMENT,
        "properties": {
            "scope": assignment.scope,
            "roleDefinitionId": assignment.role_definition_id,
            "principalId": assignment.principal_id,
            "principalType": assignment.principal_type,
            "createdOn": instant(assignment.created),
            "updatedOn": instant(assignment.created),
        },
    }


def _list(call: Call) -> Reply:
    """List what is assigned at the scope and below, and above it, as Azure does."""
    scope, wanted = call.names["scope"].lower().rstrip("/"), _filters(call)
    principal = (wanted.get("principalid") or wanted.get("assignedto") or "").lower()
    found = [
        each
        for each in call.store.assignments.every()
        if principal in ("", each.principal_id.lower()) and _touches(each.scope.lower().rstrip("/"), scope)
    ]
    return call.page([_rendered(each) for each in found])


def _touches(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _put(call: Call) -> Reply:
    properties = reading.part(call.body, "properties")
    definition, principal = reading.text(properties, "roleDefinitionId"), reading.text(properties, "principalId")
    guid = definition.rpartition("/")[2].lower()
    if guid not in _BUILT_IN.values():
        message = f"The specified role definition with ID '{guid:.80}' does not exist."
        raise problem.ResourceError(400, "RoleDefinitionDoesNotExist", message)
    if not is_guid(principal) or not is_guid(call.names["assignment"]):
        raise problem.bad_request("The role assignment's name and its principalId must be GUIDs.")
    kind = reading.text(properties, "principalType") or "ServicePrincipal"
    wanted = RoleAssignment(call.names["assignment"], call.names["scope"], definition, principal, kind, call.now)
    if call.store.assignments.get(wanted.name) is not None or (kept := call.store.assignments.put(wanted)) is None:
        raise problem.ResourceError(409, "RoleAssignmentExists", "The role assignment already exists.")
    return Reply(201, _rendered(kept))


def _show(call: Call) -> Reply:
    found = call.store.assignments.get(call.names["assignment"])
    if found is None:
        message = f"The role assignment '{call.names['assignment']:.80}' is not found."
        raise problem.ResourceError(404, "RoleAssignmentNotFound", message)
    return Reply(200, _rendered(found))


def _delete(call: Call) -> Reply:
    found = call.store.assignments.get(call.names["assignment"])
    if found is None:
        return Reply(204)
    call.store.assignments.delete(found.name)
    return Reply(200, _rendered(found))


ROUTES = {
    f"GET {{scope}}/providers/{_DEFINITION}": _list_definitions,
    f"GET {{scope}}/providers/{_DEFINITION}/{{definition}}": _show_definition,
    f"GET {{scope}}/providers/{_ASSIGNMENT}": _list,
    f"GET {{scope}}/providers/{_ASSIGNMENT}/{{assignment}}": _show,
    f"PUT {{scope}}/providers/{_ASSIGNMENT}/{{assignment}}": _put,
    f"DELETE {{scope}}/providers/{_ASSIGNMENT}/{{assignment}}": _delete,
}
