"""User-assigned identities: https://learn.microsoft.com/rest/api/managedidentity/user-assigned-identities."""

from wisp_local.cloud.arm import groups, problem, reading, rendering
from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.errors import ConflictError, NotFoundError


def find(call: Call) -> ManagedIdentity:
    """Return the identity that the path names; raises `ResourceError` (404)."""
    group = groups.find(call)
    try:
        return call.store.identity(group.name, call.names["identity"])
    except NotFoundError as error:
        raise problem.resource_not_found(rendering.IDENTITY, call.names["identity"], group.name) from error


def _list(call: Call) -> Reply:
    return call.page([rendering.identity(each) for each in call.store.identities()])


def _list_of_group(call: Call) -> Reply:
    group = groups.find(call)
    found = [each for each in call.store.identities() if each.resource_group.lower() == group.name.lower()]
    return call.page([rendering.identity(each) for each in found])


def _show(call: Call) -> Reply:
    return Reply(200, rendering.identity(find(call)))


def _put(call: Call) -> Reply:
    group, name = groups.find(call), call.names["identity"]
    location, tags = reading.location(call.body), reading.tags(call.body) or {}
    status = 200 if _is_there(call, group.name) else 201
    try:
        made = call.store.put_identity(group.name, name, location, tags=tags)
    except ConflictError as error:
        old = find(call)
        raise problem.resource_elsewhere(old.resource_id, old.location, location) from error
    return Reply(status, rendering.identity(made))


def _is_there(call: Call, group_name: str) -> bool:
    try:
        call.store.identity(group_name, call.names["identity"])
    except NotFoundError:
        return False
    return True


def _patch(call: Call) -> Reply:
    old, tags = find(call), reading.tags(call.body)
    changed = call.store.put_identity(old.resource_group, old.name, old.location, tags=tags)
    return Reply(200, rendering.identity(changed))


def _delete(call: Call) -> Reply:
    """Answer 200 when it was there and 204 when it was not, as Azure does."""
    group = groups.find(call)
    try:
        call.store.delete_identity(call.store.identity(group.name, call.names["identity"]))
    except NotFoundError:
        return Reply(204)
    return Reply(200)


_TYPE = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
_GROUP = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{_TYPE}"
ONE = f"{_GROUP}/{{identity}}"
ROUTES = {
    f"GET /subscriptions/{{subscription}}/{_TYPE}": _list,
    f"GET {_GROUP}": _list_of_group,
    f"GET {ONE}": _show,
    f"PUT {ONE}": _put,
    f"PATCH {ONE}": _patch,
    f"DELETE {ONE}": _delete,
}
