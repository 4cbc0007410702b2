"""Changes YAML text by JSON Patch operations and keeps its comments and layout.

ruamel.yaml reads every scalar as the text that is written, so that nothing depends on its idea of types: `yes`, `0o17`
and `1e3` stay what they are. It gives a comment to the value before it; here, comments stay in front of what follows.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, FoldedScalarString, LiteralScalarString
from ruamel.yaml.tag import Tag
from ruamel.yaml.tokens import CommentToken

from wisp.admission.patch import Operation, key_in

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./:@-]*(?<!:)")
_WORDS = frozenset({"y", "yes", "on", "true", "n", "no", "off", "false", "null"})
_MARK = "\ue000"
"""A character of the private use area, in front of the number of a text with escapes."""
_ESCAPED = re.compile(f'"{_MARK}([0-9]+)"')
_NOT_JSON = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}
_Container = CommentedMap | CommentedSeq


class _TextResolver(VersionedResolver):
    """Takes every scalar for text, except for the merge key."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Return the tag of a node that has none."""
        if kind is not ScalarNode:
            return super().resolve(kind, value, implicit)
        is_merge = value == "<<" and implicit[0]
        return Tag(suffix=f"tag:yaml.org,2002:{'merge' if is_merge else 'str'}")


def is_plain(text: str) -> bool:
    """Check whether text needs no quotes for any reader of YAML 1.1 or 1.2."""
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


def patch_text(text: str, operations: Iterable[Operation]) -> Iterator[str]:
    """Yield YAML documents with operations done, the one closest to `text` first; nothing if ruamel.yaml fails.

    The caller takes the first that is what it wants, if any: a value that aliases repeat is changed once for all of
    them, and lines whose layout ruamel.yaml would change may not suit the new ones.
    """
    printer = _yaml()
    before, after = StringIO(), StringIO()
    plain, escaped = _without_escapes(text.replace("\r\n", "\n"))
    try:
        root = printer.load(plain)
        printer.indent(**_indentation(root))
        for _, container in _block_children(root):
            if container.anchor.value:
                container.anchor.always_dump = True  # without an alias, too
        printer.dump(root, before)
        done: set[tuple[int, str]] = set()
        for operation in operations:
            _apply(root, operation, done)
        printer.dump(root, after)
    except (YAMLError, LookupError, TypeError, ValueError, AttributeError, NotImplementedError, RecursionError):
        return
    end = "\r\n" if "\r\n" in text else "\n"
    lines = after.getvalue().splitlines(keepends=True)
    originals = _originals(plain.splitlines(keepends=True), before.getvalue().splitlines(keepends=True), lines)
    for candidate in (originals, lines):
        yield _ESCAPED.sub(lambda found: escaped[int(found[1])], "".join(candidate)).replace("\n", end)


def format_yaml(content: object) -> str:
    """Return `content` as a YAML document, without aliases: few readers of manifests expect them."""
    printed = StringIO()
    _yaml().dump(_node(content), printed)
    return printed.getvalue()


def _yaml() -> YAML:
    printer = YAML()
    printer.preserve_quotes = True
    printer.width = 1 << 30  # no line is folded
    printer.allow_duplicate_keys = True
    printer.Resolver = _TextResolver
    printer.composer.warn_double_anchors = False
    return printer


def _without_escapes(text: str) -> tuple[str, list[str]]:
    """Return `text` with numbers in place of quoted texts with escapes, which ruamel.yaml would change; and these."""
    pieces: list[str] = []
    escaped: list[str] = []
    position = 0
    for token in yaml.scan(text) if "\\" in text and _MARK not in text else ():
        start, end = token.start_mark.index, token.end_mark.index
        if isinstance(token, yaml.ScalarToken) and token.style == '"' and "\\" in text[start:end]:
            pieces += [text[position:start], f'"{_MARK}{len(escaped)}"']
            escaped.append(text[start:end])
            position = end
    return "".join((*pieces, text[position:])), escaped


def _originals(original: list[str], before: list[str], after: list[str]) -> list[str]:
    """Return `after` with its lines that are in `before` as they are in `original`; `after` itself if that fails.

    ruamel.yaml may have joined lines of `original`, but changes only white space in them.
    """
    rest, chunks = iter(original), []
    for line in before:
        chunk, expected, found = "", _without_space(line), ""
        while not chunk or len(found) < len(expected):
            new = next(rest, None)
            if new is None:
                return after
            chunk, found = chunk + new, found + _without_space(new)
        if found != expected:
            return after
        chunks.append((line, chunk))
    pairs = iter(chunks)
    expected, chunk = next(pairs, ("", ""))
    result = []
    for line in after:
        if line != expected:
            result.append(line)
            continue
        result.append(chunk)
        expected, chunk = next(pairs, ("", ""))
    return after if expected else result


def _without_space(line: str) -> str:
    return "".join(line.split())


def _indentation(root: Any) -> dict[str, int]:
    """Return the most common indentation of maps and lists in maps, as ruamel.yaml's `indent` takes it.

    Lists of scalars count only if there are no others: how far a scalar is from its dash says nothing about maps.
    """
    maps: Counter[int] = Counter()
    lists: Counter[tuple[int, int]] = Counter()
    scalars: Counter[tuple[int, int]] = Counter()
    for parent, child in _block_children(root):
        if isinstance(parent, CommentedMap):
            indent = _column(child) - _column(parent)
            if isinstance(child, CommentedMap):
                maps[indent] += 1
            else:
                counted = lists if isinstance(child[0], _Container) else scalars
                counted[indent + child.lc.data[0][1] - _column(child), indent] += 1
    sequence, offset = next(iter((lists or scalars).most_common(1)), ((2, 0), 0))[0]
    return {"mapping": maps.most_common(1)[0][0] if maps else 2, "sequence": sequence, "offset": offset}


def _block_children(root: Any) -> Iterator[tuple[_Container, _Container]]:
    """Yield every block style map or list with the one that it is in, each once."""
    seen: set[int] = set()
    pending = [root]
    while pending:
        parent = pending.pop()
        if id(parent) in seen or not isinstance(parent, _Container) or _is_flow(parent):
            continue
        seen.add(id(parent))
        children = list(parent.values()) if isinstance(parent, CommentedMap) else list(parent)
        pending += children
        yield from (
            (parent, child) for child in children if isinstance(child, _Container) and child and not _is_flow(child)
        )


def _column(container: _Container) -> int:
    """Return the column of a block style map's first key or of a list's dashes."""
    if isinstance(container, CommentedMap):
        return int(next(iter(container.lc.data.values()))[1])
    return int(container.lc.data[0][1] - 2 if container.anchor.value else container.lc.col)


def _is_flow(container: _Container) -> bool:
    return bool(container.fa.flow_style())


def _apply(root: Any, operation: Operation, done: set[tuple[int, str]]) -> None:
    value = operation.get("value")
    new: Any = None if value is None else _node(value)
    if operation["op"] == "move":
        parent, key = _parent(root, operation["from"])  # type: ignore[typeddict-item]  # see Operation
        new = parent[key]
    parent, key = _parent(root, operation["path"])
    step = (id(parent), json.dumps((operation["op"], key, value)))
    if step in done:  # through another alias
        return
    done.add(step)
    match operation["op"]:
        case "remove":
            _delete(parent, key)
        case "replace":
            comments = _cut_comments(parent, key)
            parent[key] = new
            _paste_comments(parent, key, comments)
        case "move":
            _delete(parent, parent.index(new))
            _insert(root, operation["path"], new)
        case _ if isinstance(parent, CommentedSeq) and key != "-":
            _insert(root, operation["path"], new)
        case _:
            last = (
                key
                if key in parent
                else next(reversed(parent))
                if isinstance(parent, CommentedMap)
                else len(parent) - 1
            )
            comments = _cut_comments(parent, last)
            if isinstance(parent, CommentedMap):
                parent[key] = new
            else:
                parent.append(new)
                key = len(parent) - 1
            _paste_comments(parent, key, comments)


def _parent(root: Any, path: str) -> tuple[Any, Any]:
    *steps, last = path.split("/")[1:]
    container = root
    for step in steps:
        container = container[key_in(container, step)]
    return container, key_in(container, last)


def _node(value: Any) -> Any:
    """Return a JSON value as a new block style value of ruamel.yaml; text is quoted where a reader might err."""
    if type(value) is dict:
        return CommentedMap((_node(key), _node(member)) for key, member in value.items())
    if type(value) is list:
        return CommentedSeq(map(_node, value))
    if type(value) is not str:
        return _NOT_JSON.get(text := json.dumps(value), text)
    if "\n" in value.strip("\n") and all(line.replace("\t", "").isprintable() for line in value.split("\n")):
        return LiteralScalarString(value)
    return value if is_plain(value) else DoubleQuotedScalarString(value)


def _insert(root: Any, path: str, value: Any) -> None:
    """Insert into a list; comments in front of what was the first item stay there."""
    items, index = _parent(root, path)
    items.insert(index, value)
    if index == 0 and items.ca.comment and items.ca.comment[1]:
        parent, key = _parent(root, path.rpartition("/")[0])
        parent.ca.items.get(key, [None] * 4)[3] = None
        items.ca.items[1], items.ca.comment = [None, items.ca.comment[1], None, None], None


def _delete(container: _Container, key: Any) -> None:
    comments = _cut_comments(container, key)
    keys = list(container) if isinstance(container, CommentedMap) else list(range(len(container)))
    place = keys.index(key)
    del container[key]
    if place:
        _paste_comments(container, keys[place - 1], comments)


def _last_leaf(container: _Container, key: Any) -> tuple[_Container, Any, Any]:
    """Return where the value under `key` ends: the innermost container, its last key, and the value there."""
    value = container[key]
    while isinstance(value, _Container) and value and not _is_flow(value):
        container, key = value, next(reversed(value)) if isinstance(value, CommentedMap) else len(value) - 1
        value = container[key]
    return container, key, value


def _cut_comments(container: _Container, key: Any) -> str:
    """Take away and return the blank lines and comments after the last line of the value under `key`."""
    container, key, value = _last_leaf(container, key)
    tokens = container.ca.items.get(key) or [None, None, None, None]
    place = 2 if isinstance(container, CommentedMap) else 0
    own = value.ca.comment if isinstance(value, _Container) and value.ca.comment else [None]
    token = tokens[place] or own[0]
    if token is None:
        return ""
    line, comments = "", str(token.value)
    if not isinstance(value, LiteralScalarString | FoldedScalarString):
        line, _, comments = comments.partition("\n")
    if not line:
        tokens[place] = own[0] = None
    token.value = f"{line}\n"
    return comments


def _paste_comments(container: _Container, key: Any, comments: str) -> None:
    """Put blank lines and comments after the last line of the value under `key`."""
    if not comments:
        return
    container, key, value = _last_leaf(container, key)
    tokens = container.ca.items.setdefault(key, [None, None, None, None])
    place = 2 if isinstance(container, CommentedMap) else 0
    before = "" if isinstance(value, LiteralScalarString | FoldedScalarString) else "\n"
    if tokens[place] is not None:
        before = tokens[place].value
    tokens[place] = CommentToken(
        before + comments, CommentMark(tokens[place].start_mark.column if tokens[place] else 0), None
    )
