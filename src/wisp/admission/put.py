"""How something comes into a list of named things where it may be already: not twice, and not by touching the rest."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from wisp.admission.patch import Operation, add, move, remove, replace
from wisp.admission.shape import Object, objects_in

Builders: TypeAlias = Mapping[str, Callable[[], Object]]
"""Things by name, in order, and how each is made."""

_NOWHERE = object()
_PARTIAL = frozenset({"subPath", "subPathExpr"})
"""What makes a mount show another thing than the same mount without it."""


def put_variables(operations: list[Operation], container: Object, path: str, variables: list[Object]) -> None:
    """Add the variables whose names are absent to a container's `env`, in their order, at the end."""
    present = objects_in(container, "env", path)
    if not present:
        operations.append(add(f"{path}/env", variables))
        return
    known = [each.get("name") for each in present]
    end = f"{path}/env/-"
    operations += [{"op": "add", "path": end, "value": each} for each in variables if each["name"] not in known]


def put_all(operations: list[Operation], parent: Object, key: str, path: str, wanted: list[Object]) -> None:
    """Have each of `wanted` once, by name, in the list `key` of `parent`, which is at `path`.

    Where a mount of another name is at the same `mountPath`, that stays: there cannot be two.
    """
    present = objects_in(parent, key, path)
    if not present:
        operations.append(add(f"{path}/{key}", wanted))
        return
    surplus: list[int] = []
    names = [each["name"] for each in wanted]
    for each in wanted:
        places = [index for index, there in enumerate(present) if there.get("name") == each["name"]]
        if places:
            if not _is_right(present[places[0]], each):
                operations.append(replace(f"{path}/{key}/{places[0]}", each))
            surplus += places[1:]
        elif not _is_taken(each.get("mountPath", _NOWHERE), present, names):
            operations.append(add(f"{path}/{key}/-", each))
    operations += [remove(f"{path}/{key}/{index}") for index in sorted(surplus, reverse=True)]


def _is_taken(mount_path: object, present: list[Object], ours: list[str]) -> bool:
    """Say whether something that is not ours is at a mount path; what is ours goes where it belongs."""
    return any(there.get("mountPath") == mount_path and there.get("name") not in ours for there in present)


def _is_right(there: Object, wanted: Object) -> bool:
    return holds(there, wanted) and _PARTIAL.isdisjoint(there)


def holds(there: Any, wanted: Any) -> bool:
    """Say whether `there` is `wanted`, perhaps with members that an API server has filled in."""
    if type(wanted) is dict:
        return type(there) is dict and all(holds(there.get(key), value) for key, value in wanted.items())
    if type(wanted) is list:
        return type(there) is list and len(there) == len(wanted) and all(map(holds, there, wanted))
    return type(there) is type(wanted) and bool(there == wanted)


def put_first(operations: list[Operation], path: str, present: list[Object], builders: Builders) -> None:
    """Have the named things first in a list, in their order, made where they are not there."""
    if not present:
        operations.append(add(path, [build() for build in builders.values()]))
        return
    order = [each.get("name") for each in present]
    for place, (name, build) in enumerate(builders.items()):
        if name not in order:
            order.insert(place, name)
            operations.append(add(f"{path}/{place}", build()))
        elif order.index(name) != place:
            operations.append(move(f"{path}/{order.index(name)}", f"{path}/{place}"))
            order.insert(place, order.pop(order.index(name)))
