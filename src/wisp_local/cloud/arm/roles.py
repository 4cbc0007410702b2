"""What `az role assignment` needs: role definitions and assignments, and principals from Microsoft Graph.

https://learn.microsoft.com/rest/api/authorization/role-assignments and
https://learn.microsoft.com/graph/api/resources/serviceprincipal
"""

import re
from collections.abc import Mapping

from wisp_local.cloud.arm import problem, reading
from wisp_local.cloud.arm.handler import Call, Reply, requires
from wisp_local.cloud.arm.operations import timestamp
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.entra.directory import Application, Client
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
_GRAPH_EQUALS = re.compile(r"(\w+(?:/any\(\w+:\w+)?)\s+eq\s+'([^']*)'\)?")


def comparisons(text: str) -> Mapping[str, str]:
    """Return what a `$filter` compares with `eq`; `atScope()` and the like restrict nothing here."""
    return {name.lower(): value for name, value in _EQUALS.findall(text)}


def _definition(call: Call, role: Role) -> Mapping[str, object]:
    permissions = {
        "actions": list(role.actions),
        "notActions": list(role.not_actions),
        "dataActions": [],
        "notDataActions": [],
    }
    return {
        "id": f"/subscriptions/{call.store.subscription().id}/providers/{_DEFINITION}/{role.guid}",
        "name": role.guid,
        "type": _DEFINITION,
        "properties": {
            "roleName": role.name,
            "type": "BuiltInRole",
            "description": f"Azure's built-in role {role.name}, with the actions that this local cloud knows.",
            "assignableScopes": ["/"],
            "permissions": [permissions],
        },
    }


def _list_definitions(call: Call) -> Reply:
    name = comparisons(call.query.get("$filter", "")).get("rolename", "").lower()
    roles = [role for role in BUILT_IN if name in ("", role.name.lower())]
    return Reply(200, {"value": [_definition(call, role) for role in roles]})


def _show_definition(call: Call) -> Reply:
    if (role := role_of(call.names["definition"])) is not None:
        return Reply(200, _definition(call, role))
    message = f"The specified role definition with ID '{call.names['definition']:.80}' does not exist."
    raise ResourceError(404, "RoleDefinitionDoesNotExist", message)


def _document(assignment: RoleAssignment) -> Mapping[str, object]:
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
            "createdOn": timestamp(assignment.created),
            "updatedOn": timestamp(assignment.created),
        },
    }


def _scope(call: Call) -> str:
    return f"/{call.names.get('scope', '')}"


def _list(call: Call) -> Reply:
    """List the assignments at the scope, below it and above it, as Azure does."""
    scope, filters = _normalized(_scope(call)), comparisons(call.query.get("$filter", ""))
    principal = (filters.get("principalid") or filters.get("assignedto") or "").lower()

    def overlaps(other: str) -> bool:
        return f"{scope}/".startswith(f"{other}/") or f"{other}/".startswith(f"{scope}/")

    found = [
        _document(assignment)
        for assignment in call.store.assignments.all()
        if principal in ("", assignment.principal_id.lower()) and overlaps(_normalized(assignment.scope))
    ]
    return call.page(found)


def _normalized(scope: str) -> str:
    return scope.lower().rstrip("/")


def _put(call: Call) -> Reply:
    properties = reading.object_field(call.body, "properties")
    definition = reading.text_field(properties, "roleDefinitionId")
    principal = reading.text_field(properties, "principalId")
    if role_of(definition) is None:
        guid = definition.rpartition("/")[2].lower()
        message = f"The specified role definition with ID '{guid:.80}' does not exist."
        raise ResourceError(400, "RoleDefinitionDoesNotExist", message)
    if not is_guid(principal) or not is_guid(call.names["assignment"]):
        raise problem.bad_request("The role assignment's name and its principalId must be GUIDs.")
    kind = reading.text_field(properties, "principalType") or "ServicePrincipal"
    assignment = RoleAssignment(call.names["assignment"], _scope(call), definition, principal, kind, call.now)
    exists = call.store.assignments.get(assignment.name) is not None
    if exists or (stored := call.store.assignments.put(assignment)) is None:
        raise ResourceError(409, "RoleAssignmentExists", "The role assignment already exists.")
    return Reply(201, _document(stored))


def _show(call: Call) -> Reply:
    assignment = call.store.assignments.get(call.names["assignment"])
    if assignment is None:
        message = f"The role assignment '{call.names['assignment']:.80}' is not found."
        raise ResourceError(404, "RoleAssignmentNotFound", message)
    return Reply(200, _document(assignment))


def _delete(call: Call) -> Reply:
    assignment = call.store.assignments.get(call.names["assignment"])
    if assignment is None or _normalized(assignment.scope) != _normalized(_scope(call)):
        return Reply(204)
    call.store.assignments.delete(assignment.name)
    return Reply(200, _document(assignment))


ROUTES = {
    f"{method} {scope}/providers/{path}": handler
    for scope in ("", "/{scope:path}")
    for method, path, handler in (
        ("GET", _DEFINITION, _list_definitions),
        ("GET", f"{_DEFINITION}/{{definition}}", _show_definition),
        ("GET", _ASSIGNMENT, _list),
        ("GET", f"{_ASSIGNMENT}/{{assignment}}", _show),
        ("PUT", f"{_ASSIGNMENT}/{{assignment}}", requires(WRITE_ROLE_ASSIGNMENT, _put)),
        ("DELETE", f"{_ASSIGNMENT}/{{assignment}}", requires(DELETE_ROLE_ASSIGNMENT, _delete)),
    )
}


def _clients(call: Call) -> list[Client]:
    return [*call.store.identities(), *call.store.principals.all()]


def _principal(client: Client) -> Mapping[str, object]:
    is_application = isinstance(client, Application)
    return {
        "@odata.type": "#microsoft.graph.servicePrincipal",
        "id": client.principal_id,
        "appId": client.client_id,
        "displayName": client.display_name if isinstance(client, Application) else client.name,
        "servicePrincipalType": "Application" if is_application else "ManagedIdentity",
        "servicePrincipalNames": [client.client_id],
        "accountEnabled": True,
        "alternativeNames": [] if isinstance(client, Application) else ["isExplicit=True", client.resource_id],
    }


def graph_comparison(text: str) -> tuple[str, str] | None:
    """Return the property and the value that a Graph `$filter` compares; None for any other filter."""
    found = _GRAPH_EQUALS.fullmatch(text.strip())
    return None if found is None else (found[1].partition("/")[0], found[2].lower())


def _filtered(call: Call, items: list[Mapping[str, object]]) -> Reply:
    text = call.query.get("$filter", "")
    if not text:
        return Reply(200, {"value": items})
    comparison = graph_comparison(text)
    if comparison is None:
        message = "This local Graph supports only the filter `property eq 'value'`."
        raise ResourceError(400, "Request_UnsupportedQuery", message)
    name, value = comparison
    found = []
    for item in items:
        values = item.get(name)
        if value in {str(held).lower() for held in (values if isinstance(values, list) else [values])}:
            found.append(item)
    return Reply(200, {"value": found})


def _list_principals(call: Call) -> Reply:
    return _filtered(call, [_principal(client) for client in _clients(call)])


def _list_applications(call: Call) -> Reply:
    applications = [
        {"id": application.object_id, "appId": application.client_id, "displayName": application.display_name}
        for application in call.store.principals.all()
    ]
    return _filtered(call, [*applications])


def _show_me(call: Call) -> Reply:  # noqa: ARG001 -- a handler's signature
    raise problem.bad_request("/me request is only valid with delegated authentication flow.")


def _show_principal(call: Call) -> Reply:
    for client in _clients(call):
        if client.principal_id == call.names["id"].lower():
            return Reply(200, _principal(client))
    message = f"Resource '{call.names['id']:.80}' does not exist."
    raise ResourceError(404, "Request_ResourceNotFound", message)


def _list_by_ids(call: Call) -> Reply:
    """Answer `POST /directoryObjects/getByIds`, with which `az` resolves the names of principals."""
    ids = call.body.get("ids")
    requested = {str(principal_id).lower() for principal_id in ids} if isinstance(ids, list) else set()
    return Reply(200, {"value": [_principal(client) for client in _clients(call) if client.principal_id in requested]})


GRAPH_ROUTES = {
    "GET /v1.0/servicePrincipals": _list_principals,
    "GET /v1.0/servicePrincipals/{id}": _show_principal,
    "GET /v1.0/directoryObjects/{id}": _show_principal,
    "GET /v1.0/applications": _list_applications,
    "GET /v1.0/me": _show_me,
    "POST /v1.0/directoryObjects/getByIds": _list_by_ids,
}
