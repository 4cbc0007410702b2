"""Manifests in YAML or JSON: reads their documents as kubectl does, and the service accounts in them.

PyYAML reads YAML 1.1 in its own way: dates become objects, `12:30` the number 750, `1e3` text. kubectl's reader has
Go's numbers, and neither dates nor sexagesimal numbers.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from math import isinf
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from wisp.admission.patch import Operation
from wisp.admission.review import AccountRef
from wisp.admission.types import Object
from wisp.admission.workloads import find_accounts
from wisp.base.errors import SettingError, WispError
from wisp.cli.layout import format_yaml, patch_text

_YES = ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE")
_NO = ("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE")
_TAG = "tag:yaml.org,2002:"
_MAX_DEPTH = 200
"""Levels of nesting. The deepest objects in Kubernetes, CustomResourceDefinitions, have fewer than 100."""
_MAX_VALUES = 1_000_000
"""Values that a document may have through YAML's aliases, which write a value once and repeat it."""
_EXPONENT_FROM = 1e21
"""From here on Go's JSON writes whole numbers with an exponent."""
_RENDER = "correct it; if it is a chart's template, render it first: helm template CHART | wisp inject -f -"
_SPACE = re.compile(r"[ \t\r\n]*")
_MARKS = re.compile(r"^\ufeff", re.MULTILINE)
"""Byte order marks: each document may begin with one (YAML 1.2.2 §5.2), as in concatenated files."""
_HEAD = re.compile(r"\A((?:[ \t]*(?:\r?\n|#.*\n))*)(?:%.*\n)*---(?:[ \t]*\r?\n|[ \t]+|\Z)")
"""Comments, directives and the marker at the beginning of a document."""


def _number(number: str) -> float | int:
    """Return a number as Go writes it: as an integer if it is whole."""
    value = float(number)
    return int(value) if value.is_integer() and abs(value) < _EXPONENT_FROM else value


_JSON = json.JSONDecoder(parse_float=_number)


class ManifestError(WispError):
    """A manifest cannot be read, or a pod in it cannot get its identity."""


class Document(NamedTuple):
    """One document of a manifest."""

    content: Any
    text: str
    """Its text, with comments, but without the lines that separate documents."""
    number: int
    """Its position among the documents, from 1 on."""
    is_json: bool = False


def read_text(path: str) -> str:
    """Return the text of a file, or of standard input for `-`. Raise SettingError."""
    try:
        return (sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()).decode()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingError(
            f"cannot read {path!r}: {reason}", hint="name a readable file, or - for standard input"
        ) from None
    except UnicodeDecodeError:
        raise SettingError(f"cannot read {path!r}: it is not UTF-8", hint="name a YAML or JSON file") from None


def read_documents(text: str, source: str) -> Iterator[Document]:
    """Yield the documents in `text` that are not empty: YAML, or JSON values one after the other.

    None contains itself or is too large with its aliases written out. Raise ManifestError naming `source`, line and
    column.
    """
    text = _MARKS.sub("", text)
    found = _json_documents(text)
    for document in _yaml_documents(text, source) if found is None else found:
        _check_size(document, source)
        yield document


class _Measure(NamedTuple):
    """How large a list or map is if all aliases in it are written out."""

    size: int
    """Values in it."""
    height: int
    """Levels of nesting."""
    members: int
    """Its direct members."""


def _check_size(document: Document, source: str) -> None:
    """Raise ManifestError if a document is too deep, or its aliases make it too large or endless."""
    known: dict[int, _Measure] = {}
    try:
        size = _measure(document.content, known, 1).size
    except RecursionError:
        raise ManifestError(
            f"{source} is nested too deeply, in document {document.number}",
            hint=f"give one of at most {_MAX_DEPTH} levels that does not contain itself",
        ) from None
    if size > _MAX_VALUES and size > 10 * sum(measure.members for measure in known.values()):
        raise ManifestError(
            f"{source} has {size} values in document {document.number}, most of them through aliases",
            hint="write it with fewer aliases (&name and *name)",
        )


def _measure(value: Any, known: dict[int, _Measure], depth: int) -> _Measure:
    """Measure a value, each list and map in it once. Raise RecursionError if it is too deep."""
    if type(value) is not dict and type(value) is not list:
        return _Measure(1, 0, 0)
    found = known.get(id(value))
    if depth + (found.height if found else 0) > _MAX_DEPTH:
        raise RecursionError
    if found is None:
        members = [_measure(member, known, depth + 1) for member in (value.values() if type(value) is dict else value)]
        size = 1 + sum(member.size for member in members)
        height = 1 + max((member.height for member in members), default=0)
        found = known[id(value)] = _Measure(size, height, len(members))
    return found


def _json_documents(text: str) -> list[Document] | None:
    """Return the JSON values in `text`, or None if it is not JSON."""
    found: list[Document] = []
    start = _SPACE.match(text).end()  # type: ignore[union-attr]  # it always matches
    try:
        while start < len(text):
            content, end = _JSON.raw_decode(text, start)
            found.append(Document(content, f"{text[start:end]}\n", len(found) + 1, is_json=True))
            start = _SPACE.match(text, end).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return None  # YAML's flow style looks similar, and its reader has better error messages
    return [document for document in found if document.content is not None]


def _yaml_documents(text: str, source: str) -> Iterator[Document]:
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # about a character that YAML does not allow
        raise _invalid_yaml(error, text, source) from None
    try:
        starts, contents = [], []
        while loader.check_node():
            starts.append(loader.peek_event().start_mark.index)  # type: ignore[no-untyped-call]  # PyYAML's
            contents.append(loader.construct_document(loader.get_node()))
    except yaml.YAMLError as error:
        raise _invalid_yaml(error, text, source) from None
    except RecursionError:
        raise ManifestError(f"{source} is nested too deeply", hint="give one that does not contain itself") from None
    finally:
        loader.dispose()
    bounds = [0, *starts[1:], len(text)]  # comments before the first belong to it
    for number, (start, end, content) in enumerate(zip(bounds, bounds[1:], contents, strict=False), start=1):
        if content is not None:
            yield Document(content, _without_markers(text[start:end]), number)


def changed_yaml(document: Document, content: object, operations: Iterable[Operation]) -> str | None:
    """Return a document as YAML after `operations`, which make it `content`, with its comments and layout.

    None: `wisp.cli.layout` does not arrive at the same content. Raise ManifestError if it cannot be written.
    """
    expected = json.dumps(content, sort_keys=True)
    for text in patch_text(document.text, operations):
        try:
            found = [json.dumps(read.content, sort_keys=True) for read in read_documents(text, "")]
        except ManifestError:
            continue
        if found == [expected]:
            return text
    return None


def as_yaml(content: object) -> str:
    """Return `content` as a YAML document, in its own order. Raise ManifestError if it contains itself."""
    try:
        return format_yaml(content)
    except RecursionError:
        raise _endless() from None


def as_json(content: object) -> str:
    """Return `content` as indented JSON. Raise ManifestError if it contains itself, or a number that JSON lacks."""
    try:
        return json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False) + "\n"
    except (RecursionError, ValueError):
        raise _endless() from None


def _endless() -> ManifestError:
    return ManifestError(
        "a document cannot be written", hint="give one without .inf, .nan and aliases of what contains them"
    )


def _invalid_yaml(error: yaml.YAMLError, text: str, source: str) -> ManifestError:
    hint = _RENDER if "{{" in text else "correct it"
    return ManifestError(f"{source} is not YAML: {_problem(error)}", hint=hint)


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position + 1} is U+{error.character:04X}, which YAML does not allow"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"{problem}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(problem)


def _without_markers(text: str) -> str:
    """Return a document's text without the markers around it; comments before the first marker stay."""
    text = _HEAD.sub(r"\1", text, count=1)
    text = re.sub(r"\n\.\.\.\s*\Z", "\n", text)
    return text if text.endswith("\n") else f"{text}\n"


class _Loader(yaml.SafeLoader):
    """Reads plain scalars as kubectl does, and only the tags of JSON's types."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 -- as in PyYAML
    yaml_constructors = {  # noqa: RUF012 -- as in PyYAML
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in ("null", "str", "seq", "map")
    }

    def fetch_flow_collection_start(self, TokenClass: type) -> None:  # noqa: N803 -- PyYAML's signature
        """Begin a list or map in brackets. PyYAML's work grows with the square of their depth."""
        if self.flow_level >= _MAX_DEPTH:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 -- PyYAML's signature
        """Return a mapping whose keys are text, as in JSON: `8080: x` and `on: x` are `"8080"` and `"true"`."""
        return {_key(key): value for key, value in super().construct_mapping(node, deep).items()}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what `<<` names, each key once: otherwise a few merges of merges have millions of keys."""
        super().flatten_mapping(node)
        members = {
            key.value if isinstance(key, yaml.ScalarNode) else id(key): (key, value) for key, value in node.value
        }
        node.value = list(members.values())


def _key(key: object) -> object:
    return json.dumps(key) if key is None or isinstance(key, bool | int | float) else key


def _boolean(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return loader.construct_scalar(node) in _YES


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    """Return an integer as Go reads it: a leading 0 means base 8. If it is too large, it is text."""
    text = str(loader.construct_scalar(node)).replace("_", "")
    try:
        return int(re.sub(r"\A([-+]?)0(?=[0-9])", r"\g<1>0o", text), 0)
    except ValueError:  # Python's limit of digits, against the quadratic work that they take (sys.int_info)
        return text


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float | int | str:
    """Return a number; if it is too large, it is text."""
    text = str(loader.construct_scalar(node))
    value = _number(re.sub(r"\.(?=[a-z])", "", text.lower()))
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


Accounts: TypeAlias = Mapping[AccountRef, Object]


def accounts_in(found: Iterable[Document], namespace: str) -> Accounts:
    """Return the service accounts of these documents; one that names no namespace is in `namespace`."""
    owned = (account for document in found for account in find_accounts(document.content))
    return {AccountRef(owner.namespace or namespace, owner.name): account for owner, account in owned}


def read_accounts(paths: Iterable[str], namespace: str) -> Accounts:
    """Return the service accounts in these files. Raise SettingError or ManifestError naming the file."""
    return accounts_in((document for path in paths for document in read_documents(read_text(path), path)), namespace)
