"""All resources in one list: https://learn.microsoft.com/rest/api/resources/resources/list."""

from collections.abc import Iterator, Mapping

from wisp_local.cloud.arm import groups, managed_cluster, rendering
from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.arm.filtering import TAG_NAME, TAG_VALUE, equalities, has_tag
from wisp_local.cloud.arm.reading import part

_PROPERTIES = {"resourcegroup": "", "resourcetype": "type", "name": "name", "location": "location"}
"""What can be compared, and what it is called in an item; the group is in the id alone."""
_Item = Mapping[str, object]


def _items(call: Call) -> Iterator[tuple[str, _Item]]:
    """Yield every resource with the name of its group, as far as such a list shows one."""
    for identity in call.store.identities():
        shown = rendering.identity(identity)
        yield identity.resource_group, {name: value for name, value in shown.items() if name != "properties"}
    for cluster in call.store.clusters.all():
        yield (
            cluster.resource_group,
            {
                "id": cluster.resource_id,
                "name": cluster.name,
                "type": managed_cluster.KIND,
                "location": cluster.location,
                "tags": part(cluster.requested, "tags"),
            },
        )


def _answer(call: Call, wanted: Mapping[str, str]) -> Reply:
    found = [item for group, item in _items(call) if _suits(group, item, wanted)]
    return call.page(found)


def _suits(group: str, item: _Item, wanted: Mapping[str, str]) -> bool:
    held = {name: str(item.get(key) or group) for name, key in _PROPERTIES.items()}
    tags = {name: str(value) for name, value in part(item, "tags").items()}
    return has_tag(tags, wanted) and all(
        held[name].lower() == value.lower() for name, value in wanted.items() if name in held
    )


def _wanted(call: Call) -> Mapping[str, str]:
    return equalities(call.query.get("$filter"), (*_PROPERTIES, TAG_NAME, TAG_VALUE))


def _list(call: Call) -> Reply:
    return _answer(call, _wanted(call))


def _list_of_group(call: Call) -> Reply:
    return _answer(call, {**_wanted(call), "resourcegroup": groups.find(call).name})


ROUTES = {
    "GET /subscriptions/{subscription}/resources": _list,
    "GET /subscriptions/{subscription}/resourceGroups/{group}/resources": _list_of_group,
}
