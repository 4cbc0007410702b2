"""How something comes into a list of named things where it may be already: not twice, and not by touching the rest."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import msgspec

from wisp.admission.patch import Operation, add, move, remove, replace
from wisp.admission.shape import Container, Mount, Object, Variable, Volume

_T = TypeVar("_T", Mount, Volume)
Builders: TypeAlias = Mapping[str, Callable[[], Object]]
"""Things by name, in order, and how each is made."""


def put_variables(operations: list[Operation], present: Sequence[Variable], path: str, variables: list[Object]) -> None:
    """Add the variables whose names are absent to the list `env` at `path`, in their order, at the end."""
    if not present:
        operations.append(add(path, variables))
        return
    known = {each.name for each in present}
    end = f"{path}/-"
    operations += [{"op": "add", "path": end, "value": each} for each in variables if each["name"] not in known]


def put_all(operations: list[Operation], present: Sequence[_T], path: str, wanted: list[Object]) -> None:
    """Have each of `wanted` once, by name, in the list at `path`.

    Where a mount of another name is at the same `mountPath`, that stays: there cannot be two.
    """
    if not present:
        operations.append(add(path, wanted))
        return
    surplus: list[int] = []
    names = {each["name"] for each in wanted}
    for each in wanted:
        places = [index for index, there in enumerate(present) if there.name == each["name"]]
        if places:
            there = present[places[0]]
            if msgspec.convert(each, type(there)) != there:  # members that an API server fills in are in no type
                operations.append(replace(f"{path}/{places[0]}", each))
            surplus += places[1:]
        elif not _is_taken(each.get("mountPath"), present, names):
            operations.append(add(f"{path}/-", each))
    operations += [remove(f"{path}/{index}") for index in sorted(surplus, reverse=True)]


def _is_taken(mount_path: str | None, present: Sequence[Mount] | Sequence[Volume], ours: set[str]) -> bool:
    """Say whether something that is not ours is at a mount path; what is ours goes where it belongs."""
    return mount_path is not None and any(
        isinstance(there, Mount) and there.mountPath == mount_path and there.name not in ours for there in present
    )


def put_first(operations: list[Operation], path: str, present: list[Container], builders: Builders) -> None:
    """Have the named things first in a list, in their order, made where they are not there."""
    if not present:
        operations.append(add(path, [build() for build in builders.values()]))
        return
    order = [each.name for each in present]
    for place, (name, build) in enumerate(builders.items()):
        if name not in order:
            order.insert(place, name)
            operations.append(add(f"{path}/{place}", build()))
        elif order.index(name) != place:
            operations.append(move(f"{path}/{order.index(name)}", f"{path}/{place}"))
            order.insert(place, order.pop(order.index(name)))
