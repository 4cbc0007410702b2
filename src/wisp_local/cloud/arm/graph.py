"""The little of Microsoft Graph that `az role assignment` and tools like it ask: whose principal this is.

https://learn.microsoft.com/graph/api/resources/serviceprincipal
"""

import re
from collections.abc import Mapping

from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.entra.directory import Application, Client

_EQUALS = re.compile(r"(\w+(?:/any\(\w+:\w+)?)\s+eq\s+'([^']*)'\)?")


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


def _application(client: Application) -> Mapping[str, object]:
    return {"id": client.object_id, "appId": client.client_id, "displayName": client.display_name}


def _filtered(call: Call, items: list[Mapping[str, object]]) -> Reply:
    """Answer the items that `$filter` compares with: one property, or the names of a service principal."""
    asked = call.query.get("$filter", "")
    found = _EQUALS.fullmatch(asked.strip())
    if asked and found is None:
        raise ResourceError(400, "Request_UnsupportedQuery", "This local Graph knows only `property eq 'value'`.")
    return Reply(200, {"value": items if found is None else [each for each in items if _has(each, *found.groups())]})


def _has(item: Mapping[str, object], name: str, value: str) -> bool:
    held = item.get(name.partition("/")[0])
    values = held if isinstance(held, list) else [held]
    return value.lower() in {str(each).lower() for each in values}


def _list_principals(call: Call) -> Reply:
    return _filtered(call, [_principal(each) for each in _clients(call)])


def _list_applications(call: Call) -> Reply:
    return _filtered(call, [_application(each) for each in call.store.principals.all()])


def _show_me(call: Call) -> Reply:  # noqa: ARG001 -- a handler's signature
    message = "/me request is only valid with delegated authentication flow."
    raise ResourceError(400, "BadRequest", message)


def _show_principal(call: Call) -> Reply:
    for each in _clients(call):
        if each.principal_id == call.names["id"].lower():
            return Reply(200, _principal(each))
    message = f"Resource '{call.names['id']:.80}' does not exist."
    raise ResourceError(404, "Request_ResourceNotFound", message)


def _by_ids(call: Call) -> Reply:
    """Answer `POST /directoryObjects/getByIds`, with which `az` puts names to principals."""
    ids = call.body.get("ids")
    wanted = {str(each).lower() for each in ids} if isinstance(ids, list) else set()
    return Reply(200, {"value": [_principal(each) for each in _clients(call) if each.principal_id in wanted]})


ROUTES = {
    "GET /v1.0/servicePrincipals": _list_principals,
    "GET /v1.0/servicePrincipals/{id}": _show_principal,
    "GET /v1.0/directoryObjects/{id}": _show_principal,
    "GET /v1.0/applications": _list_applications,
    "GET /v1.0/me": _show_me,
    "POST /v1.0/directoryObjects/getByIds": _by_ids,
}
