"""Resource groups, and the list of all resources: https://learn.microsoft.com/rest/api/resources."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from wisp_local.cloud.arm import managed_cluster, reading
from wisp_local.cloud.arm.handler import Call, Reply
from wisp_local.cloud.arm.operations import begin
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.arm.reading import TAG_NAME, TAG_VALUE, Item, equalities, has_tag
from wisp_local.cloud.cluster import ManagedCluster
from wisp_local.cloud.entra.directory import ManagedIdentity, ResourceGroup
from wisp_local.cloud.errors import ConflictError, NotFoundError

Resource = TypeVar("Resource", ManagedIdentity, ManagedCluster)
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
_PROPERTIES = {"resourcegroup": "", "resourcetype": "type", "name": "name", "location": "location"}
"""What the list of resources can be filtered by, and the field of an item; the group is in the id alone."""


def find_group(call: Call) -> ResourceGroup:
    """Return the group of the path; raises `ResourceError` (404)."""
    name = call.names["group"]
    try:
        return call.store.resource_group(name)
    except NotFoundError as error:
        message = f"Resource group '{name:.100}' could not be found."
        raise ResourceError(404, "ResourceGroupNotFound", message) from error


def in_scope(call: Call, resources: Iterable[Resource]) -> list[Resource]:
    """Return the resources of the group in the path, or all of them when the path is that of the subscription."""
    if "group" not in call.names:
        return list(resources)
    group = find_group(call).name.lower()
    return [resource for resource in resources if resource.resource_group.lower() == group]


def _document(group: ResourceGroup) -> Mapping[str, object]:
    return {
        "id": group.resource_id,
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": dict(group.tags),
        "properties": {"provisioningState": "Succeeded"},
    }


def _list_groups(call: Call) -> Reply:
    filters = equalities(call.query.get("$filter"), (TAG_NAME, TAG_VALUE))
    return call.page([_document(group) for group in call.store.resource_groups() if has_tag(group.tags, filters)])


def _put_group(call: Call) -> Reply:
    name, location = call.names["group"], reading.location(call.body)
    status = 200
    try:
        call.store.resource_group(name)
    except NotFoundError:
        status = 201
    try:
        group = call.store.put_resource_group(name, location, tags=reading.tags(call.body) or {})
    except ConflictError as error:
        message = (
            f"Invalid resource group location '{location}'. The Resource group already exists in location "
            f"'{find_group(call).location}'. Name: '{name}'."
        )
        raise ResourceError(409, "InvalidResourceGroupLocation", message) from error
    return Reply(status, _document(group))


def _patch_group(call: Call) -> Reply:
    group, tags = find_group(call), reading.tags(call.body)
    return Reply(200, _document(call.store.put_resource_group(group.name, group.location, tags=tags)))


def _delete_group(call: Call) -> Reply:
    """Delete the group and everything in it at once; the operation that reports it ends a little later."""
    group = find_group(call)
    call.store.clusters.delete_in_group(group)
    call.store.delete_resource_group(group.name)
    return Reply(202, headers=begin(call, f"/subscriptions/{group.subscription_id}"))


def _list_resources(call: Call) -> Reply:
    """List the resources of a group or of the subscription; such a list does not show their properties."""
    filters = equalities(call.query.get("$filter"), (*_PROPERTIES, TAG_NAME, TAG_VALUE))
    resources: list[tuple[str, ManagedIdentity | ManagedCluster, Mapping[str, object]]] = [
        *((IDENTITY, identity, identity.tags) for identity in in_scope(call, call.store.identities())),
        *(
            (managed_cluster.KIND, cluster, reading.object_field(cluster.requested, "tags"))
            for cluster in in_scope(call, call.store.clusters.all())
        ),
    ]
    items = []
    for kind, resource, tags in resources:
        item: Item = {
            "id": resource.resource_id,
            "name": resource.name,
            "type": kind,
            "location": resource.location,
            "tags": dict(tags),
        }
        if _matches(item, resource.resource_group, filters):
            items.append(item)
    return call.page(items)


def _matches(item: Item, group: str, filters: Mapping[str, str]) -> bool:
    tags = {name: str(value) for name, value in reading.object_field(item, "tags").items()}
    return has_tag(tags, filters) and all(
        str(item.get(field) or group).lower() == filters[name].lower()
        for name, field in _PROPERTIES.items()
        if name in filters
    )


_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
ROUTES = {
    "GET /subscriptions/{subscription}/resourceGroups": _list_groups,
    f"GET {_GROUP}": lambda call: Reply(200, _document(find_group(call))),
    f"PUT {_GROUP}": _put_group,
    f"PATCH {_GROUP}": _patch_group,
    f"DELETE {_GROUP}": _delete_group,
    "GET /subscriptions/{subscription}/resources": _list_resources,
    f"GET {_GROUP}/resources": _list_resources,
}
