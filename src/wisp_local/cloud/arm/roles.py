"""Role definitions and assignments, as far as `az role assignment` needs them.

https://learn.microsoft.com/rest/api/authorization/role-assignments
"""

import re
from collections.abc import Mapping

from wisp_local.cloud.arm import problem, reading
from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.arm.operations import instant
from wisp_local.cloud.arm.permission import requires
from wisp_local.cloud.names import is_guid
from wisp_local.cloud.roles import (
    BUILT_IN,
    DELETE_ROLE_ASSIGNMENT,
    WRITE_ROLE_ASSIGNMENT,
    Role,
    RoleAssignment,
    role_of,
)

_ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
_DEFINITION = "Microsoft.Authorization/roleDefinitions"
_EQUALS = re.compile(r"\b(\w+)\s+eq\s+'([^']*)'")


def _filters(call: Call) -> Mapping[str, str]:
    """Read what `$filter` compares with `eq`; `atScope()` and the like narrow nothing here."""
    return {name.lower(): value for name, value in _EQUALS.findall(call.query.get("$filter", ""))}


def _definition(call: Call, role: Role) -> Mapping[str, object]:
    return {
        "id": f"/subscriptions/{call.store.subscription().id}/providers/{_DEFINITION}/{role.guid}",
        "name": role.guid,
        "type": _DEFINITION,
        "properties": {
            "roleName": role.name,
            "type": "BuiltInRole",
            "description": f"Azure's built-in role {role.name}, with the actions that this local cloud knows.",
            "assignableScopes": ["/"],
            "permissions": [
                {
                    "actions": list(role.actions),
                    "notActions": list(role.not_actions),
                    "dataActions": [],
                    "notDataActions": [],
                }
            ],
        },
    }


def _list_definitions(call: Call) -> Reply:
    wanted = _filters(call).get("rolename", "").lower()
    found = [each for each in BUILT_IN if wanted in ("", each.name.lower())]
    return Reply(200, {"value": [_definition(call, each) for each in found]})


def _show_definition(call: Call) -> Reply:
    if (role := role_of(call.names["definition"])) is not None:
        return Reply(200, _definition(call, role))
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
        for each in call.store.assignments.all()
        if principal in ("", each.principal_id.lower()) and _touches(each.scope.lower().rstrip("/"), scope)
    ]
    return call.page([_rendered(each) for each in found])


def _touches(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _put(call: Call) -> Reply:
    properties = reading.part(call.body, "properties")
    definition, principal = reading.text(properties, "roleDefinitionId"), reading.text(properties, "principalId")
    if role_of(definition) is None:
        guid = definition.rpartition("/")[2].lower()
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
    if found is None or found.scope.lower().rstrip("/") != call.names["scope"].lower().rstrip("/"):
        return Reply(204)
    call.store.assignments.delete(found.name)
    return Reply(200, _rendered(found))


ROUTES = {
    f"GET {{scope}}/providers/{_DEFINITION}": _list_definitions,
    f"GET {{scope}}/providers/{_DEFINITION}/{{definition}}": _show_definition,
    f"GET {{scope}}/providers/{_ASSIGNMENT}": _list,
    f"GET {{scope}}/providers/{_ASSIGNMENT}/{{assignment}}": _show,
    f"PUT {{scope}}/providers/{_ASSIGNMENT}/{{assignment}}": requires(WRITE_ROLE_ASSIGNMENT, _put),
    f"DELETE {{scope}}/providers/{_ASSIGNMENT}/{{assignment}}": requires(DELETE_ROLE_ASSIGNMENT, _delete),
}
