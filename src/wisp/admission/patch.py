"""RFC 6902 operations on a document, and their result. Knows nothing of pods."""

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

Path: TypeAlias = str
"""An RFC 6901 pointer."""


class Operation(TypedDict):
    """One operation of a JSON Patch. `move` also has `from`, which cannot be a field's name in a class.

    `add` puts `value` under a key, or before an element of a list; `-` is the end of a list.
    """

    op: Literal["add", "remove", "replace", "move"]
    path: Path
    value: NotRequired[Any]


def escape(key: str) -> str:
    """Return a member's name as it is written in a pointer (RFC 6901 §3)."""
    return key.replace("~", "~0").replace("/", "~1")


def move(source: Path, path: Path) -> Operation:
    """Return the operation that moves the value at `source` to `path`."""
    operation: Any = {"op": "move", "from": source, "path": path}
    return operation  # type: ignore[no-any-return]  # see Operation


def apply(document: dict[str, Any], operations: Iterable[Operation]) -> dict[str, Any]:
    """Return `document` with the operations done in order.

    Containers on the way to a change are copied once, all others are shared: neither the document nor the operations'
    values are modified.
    """
    copies: dict[int, Any] = {}

    def copied(container: Any) -> Any:
        if id(container) in copies:
            return container
        copy = container.copy()
        copies[id(copy)] = copy  # held, so that no other object gets its id
        return copy

    def parent_of(path: Path) -> tuple[Any, Any]:
        """Return the copied container that `path` ends in, and the key in it."""
        *steps, last = path.split("/")[1:]
        container: Any = document
        for step in steps:
            key = key_in(container, step)
            container[key] = copied(container[key])
            container = container[key]
        return container, key_in(container, last)

    document = copied(document)
    for operation in operations:
        value = operation.get("value")
        if operation["op"] == "move":
            parent, key = parent_of(operation["from"])  # type: ignore[typeddict-item]  # see Operation
            value = parent.pop(key)
        parent, key = parent_of(operation["path"])
        if operation["op"] == "remove":
            del parent[key]
        elif operation["op"] == "replace" or type(parent) is dict:
            parent[key] = value
        else:
            parent.insert(len(parent) if key == "-" else key, value)
    return document


def key_in(container: object, step: str) -> str | int:
    """Return the key or index in a container that a step of a pointer means; `-` is the end of a list."""
    if isinstance(container, list):
        return step if step == "-" else int(step)
    return step.replace("~1", "/").replace("~0", "~")
