"""Resource groups: https://learn.microsoft.com/rest/api/resources/resource-groups."""

from wisp_local.cloud.arm import problem, reading, rendering
from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.arm.filtering import TAG_NAME, TAG_VALUE, equalities, has_tag
from wisp_local.cloud.arm.operations import accepted
from wisp_local.cloud.entra.directory import ResourceGroup
from wisp_local.cloud.errors import ConflictError, NotFoundError


def find(call: Call) -> ResourceGroup:
    """Return the group that the path names; raises `ResourceError` (404)."""
    try:
        return call.store.resource_group(call.names["group"])
    except NotFoundError as error:
        raise problem.group_not_found(call.names["group"]) from error


def _list(call: Call) -> Reply:
    wanted = equalities(call.query.get("$filter"), (TAG_NAME, TAG_VALUE))
    return call.page([rendering.group(each) for each in call.store.resource_groups() if has_tag(each.tags, wanted)])


def _show(call: Call) -> Reply:
    return Reply(200, rendering.group(find(call)))


def _exists(call: Call) -> Reply:
    """Answer 204 or 404 without a body, which is all that a HEAD can say."""
    try:
        call.store.resource_group(call.names["group"])
    except NotFoundError:
        return Reply(404)
    return Reply(204)


def _put(call: Call) -> Reply:
    name, location = call.names["group"], reading.location(call.body)
    status = _exists(call).status
    try:
        made = call.store.put_resource_group(name, location, tags=reading.tags(call.body) or {})
    except ConflictError as error:
        raise problem.group_elsewhere(name, find(call).location, location) from error
    return Reply(201 if status == 404 else 200, rendering.group(made))


def _patch(call: Call) -> Reply:
    group, tags = find(call), reading.tags(call.body)
    return Reply(200, rendering.group(call.store.put_resource_group(group.name, group.location, tags=tags)))


def _delete(call: Call) -> Reply:
    """Delete the group with all that is in it; the client is sent to a place that says so a little later."""
    group = find(call)
    call.store.clusters.delete_in_group(group)
    call.store.delete_resource_group(group.name)
    return accepted(call, f"/subscriptions/{group.subscription_id}")


_ONE = "/subscriptions/{subscription}/resourceGroups/{group}"
ROUTES = {
    "GET /subscriptions/{subscription}/resourceGroups": _list,
    f"GET {_ONE}": _show,
    f"HEAD {_ONE}": _exists,
    f"PUT {_ONE}": _put,
    f"PATCH {_ONE}": _patch,
    f"DELETE {_ONE}": _delete,
}
