"""What a local cloud is to hold, read from a seed file; knows no state, and so not what is there already.

Every value is checked as Azure would check it, and every error says file, line and path.
"""

import json
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

import yaml

from wisp_local.cloud import names
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, FederatedCredential
from wisp_local.cloud.errors import RequestError, SeedError

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
            _names_must_differ(names, source, None)
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
        _names_must_differ((*found, name), source, line)
        found[name] = _from_yaml(value, line, source)
    return found


def _names_must_differ(names: "list[str] | tuple[Hashable, ...]", source: str, line: int | None) -> None:
    if len(set(names)) != len(names):
        twice = next(each for number, each in enumerate(names) if each in names[:number])
        raise SeedError(f"{at(source, line)}: {twice!r} is there twice", hint="keep one of them")


_GUID_PATTERN = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


@dataclass(frozen=True)
class Key:
    """A key of a mapping: its value is text, a GUID, or a mapping of the keys `inside`; `many` make it a list."""

    name: str
    says: str
    required: bool = False
    guid: bool = False
    inside: "tuple[Key, ...]" = ()
    many: bool = False


_CREDENTIAL_KEYS = (
    Key("name", "its name", required=True),
    Key("issuer", "https URL exactly as in the tokens, or the name of one of `issuers`", required=True),
    Key("subject", "for a service account `system:serviceaccount:NAMESPACE:NAME`", required=True),
    Key("audience", f"`{DEFAULT_AUDIENCE}` when absent"),
)
_IDENTITY_KEYS = (
    Key("name", "its name", required=True),
    Key("resourceGroup", "made when new", required=True),
    Key("location", "region; its group's when absent, else `eastus`"),
    Key("clientId", "any when absent", guid=True),
    Key("principalId", "the object id; any when absent", guid=True),
    Key("federatedCredentials", "up to 20", inside=_CREDENTIAL_KEYS, many=True),
)
_ISSUER_KEYS = (
    Key("name", "of the cluster, or what `issuer` calls it by", required=True),
    Key("url", "of an issuer elsewhere; without it, it is one of this cloud's own"),
    Key("id", "of an issuer of this cloud's own, whose path is `/oidc/ID/`; any when absent", guid=True),
)
_DIRECTORY_KEYS = (Key("id", "any when absent", guid=True), Key("name", "its display name"))
ROOT = (
    Key("tenant", "the one tenant", inside=_DIRECTORY_KEYS),
    Key("subscription", "the one subscription", inside=_DIRECTORY_KEYS),
    Key(
        "resourceGroups",
        "those that are to be elsewhere than in `eastus`, or to have nothing in them",
        inside=(Key("name", "its name", required=True), Key("location", "region; `eastus` when absent")),
        many=True,
    ),
    Key("issuers", "who signs assertions", inside=_ISSUER_KEYS, many=True),
    Key("identities", "user-assigned managed identities", inside=_IDENTITY_KEYS, many=True),
    Key("resources", "what tokens can be asked for besides Azure's own, such as `api://my-api`", many=True),
)


def json_schema() -> dict[str, object]:
    """Return the JSON schema (2020-12) of a seed file, which editors complete and check it by."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Seed of a wisp local cloud",
        **_object(ROOT),
    }


def _object(keys: Sequence[Key]) -> dict[str, object]:
    required = [each.name for each in keys if each.required]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {each.name: _property(each) for each in keys},
        **({"required": required} if required else {}),
    }


def _property(key: Key) -> Mapping[str, object]:
    text = {"type": "string", **({"pattern": _GUID_PATTERN} if key.guid else {})}
    one = _object(key.inside) if key.inside else text
    return {"description": key.says, **({"type": "array", "items": one} if key.many else one)}


_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Fields:
    """A mapping of the file, at `path`, with the keys that may be in it."""

    def __init__(self, node: Node, path: str, source: str, keys: Sequence[Key]) -> None:
        self._path, self._source, self._line = path, source, node.line
        values = {} if node.value is None else node.value
        if not isinstance(values, dict):
            raise self._wrong(node, path, "a mapping (key: value)")
        self._values: dict[str, Node] = values
        self._keys = {each.name: each for each in keys}
        self._check_keys()

    @property
    def path(self) -> str:
        """Where it is, from the top of the file."""
        return self._path

    def where(self, key: str = "") -> str:
        """Write where in the file this, or the value of `key`, is."""
        line = self._values[key].line if key in self._values else self._line
        return at(self._source, line, self._below(key) if key else self._path)

    def error(self, key: str, problem: str, hint: str) -> SeedError:
        """Make the error about the value of `key`."""
        return SeedError(f"{self.where(key)}: {problem}", hint=hint)

    def check(self, rule: Callable[..., None], *values: object) -> None:
        """Apply a rule of Azure's; its error then says where."""
        try:
            rule(*values)
        except RequestError as error:
            raise SeedError(f"{self.where()}: {error.problem}", hint=error.hint) from error

    def text(self, key: str) -> str | None:
        """Return the text at `key`, a GUID in lower case, or None."""
        node = self._values.get(key)
        if node is None or node.value is None:
            return None
        value = self._text(node, self._below(key))
        if not self._keys[key].guid:
            return value
        if _GUID.fullmatch(value) is None:
            raise self.error(key, f"{value!r} is no GUID", "give 8-4-4-4-12 hexadecimal digits, or leave it away")
        return value.lower()

    def need(self, key: str) -> str:
        """Return the text at `key`, which has to be there."""
        value = self.text(key)
        if value is None:
            raise self.error("", f"{key} is missing", f"add {key}: {self._keys[key].says}")
        return value

    def texts(self, key: str, rule: Callable[[str], None]) -> Iterable[str]:
        """Give the texts of the list at `key`, each checked by `rule`."""
        for number, node in enumerate(self._list(key)):
            value = self._text(node, self._below(key, number))
            self.check(rule, value)
            yield value

    def one(self, key: str) -> "Fields | None":
        """Return the mapping at `key`."""
        node = self._values.get(key)
        return None if node is None else Fields(node, self._below(key), self._source, self._keys[key].inside)

    def many(self, key: str) -> "list[Fields]":
        """Return the mappings of the list at `key`."""
        inside = self._keys[key].inside
        return [
            Fields(node, self._below(key, number), self._source, inside) for number, node in enumerate(self._list(key))
        ]

    def _check_keys(self) -> None:
        for name, node in self._values.items():
            if name not in self._keys:
                line = at(self._source, node.line, self._path)
                near = nearest(name, self._keys) or f"there is {', '.join(self._keys)}"
                raise SeedError(f"{line}: unknown key {name!r}", hint=near)

    def _list(self, key: str) -> list[Node]:
        node = self._values.get(key)
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, list):
            raise self._wrong(node, self._below(key), "a list (- one - another)")
        return node.value

    def _text(self, node: Node, path: str) -> str:
        if not isinstance(node.value, str):
            raise self._wrong(node, path, "text")
        return node.value

    def _wrong(self, node: Node, path: str, wanted: str) -> SeedError:
        hint = "see docs/how-to/testing.md"
        if isinstance(node.value, Other) and wanted == "text":
            hint = f'put it in quotes: "{node.value.written}"'
        return SeedError(f"{at(self._source, node.line, path)}: this has to be {wanted}", hint=hint)

    def _below(self, key: str, number: int | None = None) -> str:
        path = f"{self._path}.{key}" if self._path else key
        return path if number is None else f"{path}[{number}]"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Ask whether the nearest of `known` is meant; None when none is near."""
    near = get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else None


DEFAULT_LOCATION = "eastus"
_STAND_IN = "https://own.invalid/"


@dataclass(frozen=True)
class Directory:
    """A tenant or a subscription; None is whatever it is."""

    id: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Group:
    """A resource group; `where` in the file it is asked for, for messages."""

    name: str
    location: str | None
    where: str


@dataclass(frozen=True)
class Own:
    """An issuer of the cloud's own, called `name`: its URL depends on where the cloud is served."""

    name: str
    id: str | None
    where: str


@dataclass(frozen=True)
class Credential:
    """A federated credential; `issuer` is a URL, or one of the cloud's own."""

    name: str
    issuer: str | Own
    subject: str
    audience: str


@dataclass(frozen=True)
class Identity:
    """A managed identity in the resource group `group`; ids are in lower case, None is any."""

    group: str
    name: str
    location: str | None
    client_id: str | None
    principal_id: str | None
    credentials: tuple[Credential, ...]
    where: str


@dataclass(frozen=True)
class Seed:
    """All that a seed file asks for."""

    tenant: Directory = Directory()
    subscription: Directory = Directory()
    groups: tuple[Group, ...] = ()
    issuers: tuple[Own, ...] = ()
    identities: tuple[Identity, ...] = ()
    resources: tuple[str, ...] = ()


def read_seed(text: str, source: str) -> Seed:
    """Read a seed file's text; `source` is its name, for messages. Raises `SeedError`."""
    root = Fields(read_text(text, source), "", source, ROOT)
    groups, issuers, identities = (root.many(each) for each in ("resourceGroups", "issuers", "identities"))
    _must_differ(groups, "name")
    _must_differ(issuers, "name")
    _must_differ(identities, "resourceGroup", "name")
    for key in ("clientId", "principalId"):
        _must_differ([each for each in identities if each.text(key)], key)
    known = {each.need("name"): _issuer(each) for each in issuers}
    return Seed(
        tenant=_directory(root, "tenant"),
        subscription=_directory(root, "subscription"),
        groups=tuple(map(_group, groups)),
        issuers=tuple(each for each in known.values() if isinstance(each, Own)),
        identities=tuple(_identity(each, known) for each in identities),
        resources=tuple(root.texts("resources", names.check_resource)),
    )


def _must_differ(those: Iterable[Fields], *keys: str, exactly: bool = False) -> None:
    """Raise for the second that has the same at `keys`, in any case unless `exactly`."""
    seen: dict[tuple[str, ...], Fields] = {}
    for each in those:
        mark = tuple(value if exactly else value.lower() for value in map(each.need, keys))
        if mark in seen:
            problem = f"the same {' and '.join(keys)} as in {seen[mark].path}"
            raise each.error(keys[-1], problem, "change or delete one of them")
        seen[mark] = each


def _directory(root: Fields, key: str) -> Directory:
    found = root.one(key)
    return Directory() if found is None else Directory(found.text("id"), found.text("name"))


def _group(found: Fields) -> Group:
    name, location = found.need("name"), found.text("location")
    found.check(names.check_group, name, location or DEFAULT_LOCATION)
    return Group(name, location, found.where())


def _issuer(found: Fields) -> str | Own:
    name, url = found.need("name"), found.text("url")
    found.check(names.check_cluster, name)
    if url is None:
        return Own(name, found.text("id"), found.where())
    if not names.is_issuer_url(url):
        raise found.error("url", f"{url!r} is no issuer's URL", "give an https URL without query or user")
    if found.text("id") is not None:
        raise found.error("id", "an issuer elsewhere has no id here", "leave away id, or url")
    return url


def _identity(found: Fields, issuers: dict[str, str | Own]) -> Identity:
    group, name, location = found.need("resourceGroup"), found.need("name"), found.text("location")
    found.check(names.check_group, group, location or DEFAULT_LOCATION)
    found.check(names.check_identity, name, location or DEFAULT_LOCATION)
    credentials = found.many("federatedCredentials")
    _must_differ(credentials, "name")
    _must_differ(credentials, "issuer", "subject", exactly=True)
    if len(credentials) > names.MAXIMUM_FEDERATED_CREDENTIALS:
        problem = f"there are {len(credentials)}, and Azure's limit is {names.MAXIMUM_FEDERATED_CREDENTIALS}"
        raise found.error("federatedCredentials", problem, "use another identity for the rest")
    return Identity(
        group=group,
        name=name,
        location=location,
        client_id=found.text("clientId"),
        principal_id=found.text("principalId"),
        credentials=tuple(_credential(each, issuers) for each in credentials),
        where=found.where(),
    )


def _credential(found: Fields, issuers: dict[str, str | Own]) -> Credential:
    name, issuer, subject = found.need("name"), found.need("issuer"), found.need("subject")
    audience = found.text("audience") or DEFAULT_AUDIENCE
    known = issuers.get(issuer)
    if known is None and not names.is_issuer_url(issuer):
        raise found.error("issuer", f"there is no issuer {issuer!r}", nearest(issuer, issuers) or "give an https URL")
    url = _STAND_IN if isinstance(known, Own) else known or issuer
    found.check(names.check_credential, FederatedCredential(name, url, subject, (audience,)))
    return Credential(name, known or issuer, subject, audience)
