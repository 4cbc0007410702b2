"""The text of a seed file as a tree that knows its lines; knows YAML and JSON, and nothing of what is said in them.

YAML is composed, not constructed: no tag makes an object. What begins with a brace is read as JSON, which is ten times
faster and knows no lines.
"""

import json
from collections.abc import Hashable
from typing import NamedTuple

import yaml

from wisp_local.cloud.errors import SeedError

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT = "tag:yaml.org,2002:str"
_NOTHING = "tag:yaml.org,2002:null"


class Node(NamedTuple):
    """A text, a list or a mapping; None is nothing at all, and `Other` what else there is. `line` from 1, if known."""

    value: "str | list[Node] | dict[str, Node] | Other | None"
    line: int | None


class Other(NamedTuple):
    """A scalar that is no text, such as a number, as it is written."""

    written: str


def read_text(text: str, source: str) -> Node:
    """Parse `text`; raises `SeedError`, which calls the file `source`."""
    try:
        if text.lstrip().startswith("{"):
            return _from_json(json.loads(text, object_pairs_hook=_Pairs), source)
        root = yaml.compose(text, Loader=_Loader)
        return Node(None, 1) if root is None else _from_yaml(root, root.start_mark.line + 1, source)
    except json.JSONDecodeError as error:
        raise _unreadable(source, error.lineno, error.msg) from None
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise _unreadable(source, line, error.problem or "it is malformed") from None
    except (yaml.YAMLError, RecursionError):
        raise _unreadable(source, None, "it holds a control character, or is nested without end") from None


def at(source: str, line: int | None, path: str = "") -> str:
    """Write where in the file something is."""
    place = source if line is None else f"{source}, line {line}"
    return f"{place}: {path}" if path else place


def _unreadable(source: str, line: int | None, why: str) -> SeedError:
    return SeedError(f"{at(source, line)}: it is no YAML or JSON ({why})", hint="correct the file")


class _Pairs(list[tuple[str, object]]):
    """A JSON object, a key that is there twice not yet lost."""


def _from_json(value: object, source: str) -> Node:
    match value:
        case _Pairs():
            names = [name for name, _ in value]
            _must_differ(names, source, None)
            return Node({name: _from_json(each, source) for name, each in value}, None)
        case list():
            return Node([_from_json(each, source) for each in value], None)
        case str() | None:
            return Node(value, None)
    return Node(Other(json.dumps(value)), None)


def _from_yaml(node: yaml.Node, line: int, source: str) -> Node:
    match node:
        case yaml.MappingNode():
            return Node(_mapping(node, source), line)
        case yaml.SequenceNode():
            return Node([_from_yaml(each, each.start_mark.line + 1, source) for each in node.value], line)
    if node.tag == _NOTHING:
        return Node(None, line)
    return Node(node.value if node.tag == _TEXT else Other(str(node.value)), line)


def _mapping(node: yaml.MappingNode, source: str) -> dict[str, Node]:
    """Read a mapping; a value's line is its key's."""
    found: dict[str, Node] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        _must_differ((*found, name), source, line)
        found[name] = _from_yaml(value, line, source)
    return found


def _must_differ(names: "list[str] | tuple[Hashable, ...]", source: str, line: int | None) -> None:
    if len(set(names)) != len(names):
        twice = next(each for number, each in enumerate(names) if each in names[:number])
        raise SeedError(f"{at(source, line)}: {twice!r} is there twice", hint="keep one of them")
