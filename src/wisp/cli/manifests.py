"""Manifests: YAML or JSON, taken apart into documents as kubectl does, and put together again.

PyYAML reads YAML 1.1 in its own way: dates become objects, `12:30` the number 750, `1e3` text. kubectl's reader knows
no dates and no sexagesimals, and has Go's numbers. What is written is quoted wherever a reader might take it for
anything but text.
"""

import json
import re
import sys
from collections.abc import Iterator
from math import isinf
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from wisp.base.errors import SettingError, WispError

_YES = ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE")
_NO = ("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE")
_TAG = "tag:yaml.org,2002:"
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./:@-]*(?<!:)")
_WORDS = frozenset(each.lower() for each in (*_YES, *_NO, "null"))
_WIDEST = 1 << 30
_DEEPEST = 200
"""Levels of nesting. The deepest objects that Kubernetes knows, CustomResourceDefinitions, have fewer than 100."""
_MOST = 1_000_000
"""Values that a document may have by YAML's references, which write a value once and repeat it."""
_WHOLE = 1e21
"""From here on Go's JSON writes whole numbers with an exponent."""
_RENDER = "correct it; if it is a chart's template, render it first: helm template CHART | wisp inject -f -"
_SPACE = re.compile(r"[ \t\r\n]*")
_MARKS = re.compile(r"^\ufeff", re.MULTILINE)
"""Byte order marks: one may begin each document (YAML 1.2.2 §5.2), as where files are put together."""
_HEAD = re.compile(r"\A((?:[ \t]*(?:\r?\n|#.*\n))*)(?:%.*\n)*---(?:[ \t]*\r?\n|[ \t]+|\Z)")
"""Comments, directives and the mark that a document begins with."""


def _as_go_writes_it(number: str) -> float | int:
    """Return a number, an integer where it is whole."""
    value = float(number)
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


_JSON = json.JSONDecoder(parse_float=_as_go_writes_it)


class ManifestError(WispError):
    """A manifest cannot be read, or something in it cannot be given its identity."""


class Document(NamedTuple):
    """One document of a manifest."""

    content: Any
    text: str
    """As it was read, comments and all, without the lines that part documents."""
    place: int
    """Which of the documents it is, from 1 on."""


def read_text(path: str) -> str:
    """Return what a file, or standard input for `-`, holds. Raise SettingError."""
    try:
        return (sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()).decode()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingError(f"cannot read {path!r}: {reason}", hint="name a readable file, or - for input") from None
    except UnicodeDecodeError:
        raise SettingError(f"cannot read {path!r}: it is not UTF-8", hint="name a file of YAML or JSON") from None


def documents(text: str, source: str) -> Iterator[Document]:
    """Yield the documents in `text` that hold something: YAML, or JSON one after the other as `as_json` prints it.

    None of them holds itself or is too large when references are written out. Raise ManifestError naming `source`,
    line and column.
    """
    text = _MARKS.sub("", text)
    found = _stream_of_json(text)
    for each in _documents(text, source) if found is None else found:
        _check_size(each, source)
        yield each


class _Measure(NamedTuple):
    """How large a list or map is, if all references in it are written out."""

    size: int
    """Values in it."""
    height: int
    """Levels of nesting."""
    members: int
    """Its own, which are written once."""


def _check_size(document: Document, source: str) -> None:
    """Raise ManifestError if a document is too deep, or too large or endless because of references in it."""
    known: dict[int, _Measure] = {}
    try:
        size = _measure(document.content, known, 1).size
    except RecursionError:
        raise ManifestError(
            f"{source} is nested too deeply, in document {document.place}",
            hint=f"give one of at most {_DEEPEST} levels, without references to itself",
        ) from None
    if size > _MOST and size > 10 * sum(each.members for each in known.values()):
        raise ManifestError(
            f"{source} has {size} values in document {document.place}, most of them by references",
            hint="write it with fewer references (&name and *name)",
        )


def _measure(value: Any, known: dict[int, _Measure], depth: int) -> _Measure:
    """Measure a value, each list and map in it once. Raise RecursionError where it is too deep."""
    if type(value) is not dict and type(value) is not list:
        return _Measure(1, 0, 0)
    found = known.get(id(value))
    if depth + (found.height if found else 0) > _DEEPEST:
        raise RecursionError
    if found is None:
        parts = [_measure(each, known, depth + 1) for each in (value.values() if type(value) is dict else value)]
        size, height = 1 + sum(each.size for each in parts), 1 + max((each.height for each in parts), default=0)
        found = known[id(value)] = _Measure(size, height, len(parts))
    return found


def _stream_of_json(text: str) -> list[Document] | None:
    """Return what `text` is as JSON; None where it is anything else."""
    found: list[Document] = []
    start = _SPACE.match(text).end()  # type: ignore[union-attr]  # it matches nothing, too
    try:
        while start < len(text):
            content, end = _JSON.raw_decode(text, start)
            found.append(Document(content, f"{text[start:end]}\n", len(found) + 1))
            start = _SPACE.match(text, end).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return None  # YAML's flow style looks the same at first, and its reader says better what is wrong
    return [each for each in found if each.content is not None]


def _documents(text: str, source: str) -> Iterator[Document]:
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # of a character that YAML has not
        raise _no_yaml(error, text, source) from None
    try:
        starts, contents = [], []
        while loader.check_node():
            starts.append(loader.peek_event().start_mark.index)  # type: ignore[no-untyped-call]  # PyYAML's
            contents.append(loader.construct_document(loader.get_node()))
    except yaml.YAMLError as error:
        raise _no_yaml(error, text, source) from None
    except RecursionError:
        raise ManifestError(f"{source} is nested too deeply", hint="give one without references to itself") from None
    finally:
        loader.dispose()
    bounds = [0, *starts[1:], len(text)]  # what is said before the first is of the first
    for place, (start, end, content) in enumerate(zip(bounds, bounds[1:], contents, strict=False), start=1):
        if content is not None:
            yield Document(content, _between(text[start:end]), place)


def as_yaml(content: object) -> str:
    """Return `content` as a YAML document, in its own order. Raise ManifestError where it holds itself."""
    try:
        return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDEST)
    except RecursionError:
        raise _endless() from None


def as_json(content: object) -> str:
    """Return `content` as indented JSON. Raise ManifestError where it holds itself, or a number that JSON has not."""
    try:
        return json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False) + "\n"
    except (RecursionError, ValueError):
        raise _endless() from None


def _endless() -> ManifestError:
    return ManifestError("a document has no end", hint="give one without references to itself, .inf and .nan")


def _no_yaml(error: yaml.YAMLError, text: str, source: str) -> ManifestError:
    hint = _RENDER if "{{" in text else "correct it"
    return ManifestError(f"{source} is no YAML: {_told(error)}", hint=hint)


def _told(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position + 1} is U+{error.character:04X}, which YAML does not allow"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"{problem}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(problem)


def _between(text: str) -> str:
    """Return a document's text without the marks around it; comments before the first of them stay."""
    text = _HEAD.sub(r"\1", text, count=1)
    text = re.sub(r"\n\.\.\.\s*\Z", "\n", text)
    return text if text.endswith("\n") else f"{text}\n"


class _Loader(yaml.SafeLoader):
    """Takes plain scalars for what kubectl does; knows no tags but those of JSON's types."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 -- as in PyYAML
    yaml_constructors = {  # noqa: RUF012 -- likewise
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in ("null", "str", "seq", "map")
    }

    def fetch_flow_collection_start(self, TokenClass: type) -> None:  # noqa: N803 -- PyYAML's signature
        """Begin a list or map in brackets: PyYAML's work grows with the square of how deep they are nested."""
        if self.flow_level >= _DEEPEST:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 -- PyYAML's signature
        """Return a mapping whose keys are text, as JSON has them: `8080: x` and `on: x` are `"8080"` and `"true"`."""
        return {_key(key): value for key, value in super().construct_mapping(node, deep).items()}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Take in what `<<` names; each key once, or a few merges of merges have millions of them."""
        super().flatten_mapping(node)
        members = {key.value if isinstance(key, yaml.ScalarNode) else id(key): (key, of) for key, of in node.value}
        node.value = list(members.values())


def _key(key: object) -> object:
    return json.dumps(key) if key is None or isinstance(key, bool | int | float) else key


def _boolean(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return loader.construct_scalar(node) in _YES


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    """Return an integer as Go reads it: a leading 0 means base 8. What is too large for one is text."""
    text = str(loader.construct_scalar(node)).replace("_", "")
    try:
        return int(re.sub(r"\A([-+]?)0(?=[0-9])", r"\g<1>0o", text), 0)
    except ValueError:  # Python's limit of digits, against the quadratic work that they take (sys.int_info)
        return text


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float | int | str:
    """Return a number; what is too large for one is text."""
    text = str(loader.construct_scalar(node))
    value = _as_go_writes_it(re.sub(r"\.(?=[a-z])", "", text.lower()))
    return text if isinf(value) and "i" not in text.lower() else value


for _name, _pattern, _first, _construct in (
    ("bool", "|".join((*_YES, *_NO)), "yYnNtTfFoO", _boolean),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0o?[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)", "-+0123456789", _integer),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
        _float,
    ),
    ("null", "~|null|Null|NULL|", ("~", "n", "N", ""), None),
    ("merge", "<<", "<", None),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list(_first))
    if _construct is not None:
        _Loader.add_constructor(_TAG + _name, _construct)


class _Dumper(yaml.SafeDumper):
    """Writes what is shared as often as it is there, and indents lists as manifests do."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- PyYAML's signature
        """Leave references out: few readers of manifests expect them."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: str | None = "|"  # where it can be: PyYAML quotes what cannot
    if "\n" not in text.strip("\n"):
        style = None if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else '"'
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(str, _text)
