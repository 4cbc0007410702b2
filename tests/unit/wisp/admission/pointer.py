"""JSON Patch (RFC 6902), independent of the code under test: applies a patch as an API server does."""

from copy import deepcopy
from typing import Any


def patched(document: Any, patch: list[dict[str, Any]]) -> Any:
    """Return a patched copy of the document. Raise KeyError or IndexError if an operation has no target."""
    document = deepcopy(document)
    for operation in patch:
        value = deepcopy(operation.get("value"))
        if operation["op"] == "move":
            value = _at(document, operation["from"])
            _remove(document, operation["from"])
        if operation["op"] in ("remove", "replace"):
            _at(document, operation["path"])  # the target must exist
            _remove(document, operation["path"])
        if operation["op"] != "remove":
            _add(document, operation["path"], value)
    return document


def _steps(pointer: str) -> list[str]:
    assert pointer.startswith("/")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def _step(container: Any, step: str) -> Any:
    return container[_index(step)] if isinstance(container, list) else container[step]


def _index(step: str) -> int:
    assert step.isdigit()
    assert step == "0" or step[0] != "0"
    return int(step)


def _at(document: Any, pointer: str) -> Any:
    for step in _steps(pointer):
        document = _step(document, step)
    return document


def _parent(document: Any, pointer: str) -> tuple[Any, str]:
    *parents, last = _steps(pointer)
    for step in parents:
        document = _step(document, step)
    return document, last


def _add(document: Any, pointer: str, value: Any) -> None:
    parent, last = _parent(document, pointer)
    if isinstance(parent, list):
        place = len(parent) if last == "-" else _index(last)
        assert place <= len(parent)
        parent.insert(place, value)
    else:
        assert isinstance(parent, dict)
        parent[last] = value


def _remove(document: Any, pointer: str) -> None:
    parent, last = _parent(document, pointer)
    del parent[_index(last) if isinstance(parent, list) else last]
