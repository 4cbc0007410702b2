"""What is done to a document, as RFC 6902 operations, and what comes of it. Knows nothing of pods.

`applied` copies what lies on the way to a change and shares everything else: neither the document nor the operations'
values are ever altered.
"""

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

Path: TypeAlias = str
"""An RFC 6901 pointer."""


class Operation(TypedDict):
    """One operation of a JSON Patch; `from` is of `move` only, `value` of `add` and `replace`."""

    op: Literal["add", "remove", "replace", "move"]
    path: Path
    value: NotRequired[Any]


def add(path: Path, value: object) -> Operation:
    """Return the operation that puts `value` at `path`: a member, or before the element there; `-` is the end."""
    return {"op": "add", "path": path, "value": value}


def replace(path: Path, value: object) -> Operation:
    """Return the operation that puts `value` in place of what is at `path`."""
    return {"op": "replace", "path": path, "value": value}


def remove(path: Path) -> Operation:
    """Return the operation that takes away what is at `path`."""
    return {"op": "remove", "path": path}


def move(source: Path, path: Path) -> Operation:
    """Return the operation that takes what is at `source` to `path`."""
    operation: Any = {"op": "move", "from": source, "path": path}
    return operation  # type: ignore[no-any-return]  # "from" cannot be a field's name in a class


def escaped(key: str) -> str:
    """Return a member's name as a pointer spells it (RFC 6901 §3)."""
    return key.replace("~", "~0").replace("/", "~1")


def applied(document: dict[str, Any], operations: Iterable[Operation]) -> dict[str, Any]:
    """Return `document` with the operations done, in their order."""
    copies = _Copies()
    document = copies.own(document)
    for operation in operations:
        source: str | None = operation.get("from")  # type: ignore[assignment]  # as above
        value = operation.get("value") if source is None else _taken(document, source, copies)
        parent, key = _parent(document, operation["path"], copies)
        match operation["op"]:
            case "remove":
                del parent[key]
            case "replace":
                parent[key] = value
            case _ if type(parent) is list:
                parent.insert(len(parent) if key == "-" else key, value)
            case _:
                parent[key] = value
    return document


def _taken(document: dict[str, Any], path: Path, copies: "_Copies") -> object:
    parent, key = _parent(document, path, copies)
    return parent.pop(key)


def _parent(document: dict[str, Any], path: Path, copies: "_Copies") -> tuple[Any, Any]:
    """Return the container that `path` ends in, this document's own by now, and the key in it."""
    *way, last = path.split("/")[1:]
    at: Any = document
    for step in way:
        key = _key(at, step)
        at[key] = copies.own(at[key])
        at = at[key]
    return at, _key(at, last)


def _key(container: object, step: str) -> str | int:
    if type(container) is list:
        return step if step == "-" else int(step)
    return step.replace("~1", "/").replace("~0", "~")


class _Copies:
    """The containers that have been copied, so that each is once."""

    def __init__(self) -> None:
        self._own: dict[int, Any] = {}

    def own(self, container: Any) -> Any:
        if id(container) in self._own:
            return container
        copy = container.copy()
        self._own[id(copy)] = copy  # kept, so that the number is nobody else's
        return copy
