"""Seed files: the objects that a local cloud shall have, as YAML or JSON.

The types here decode a file, and give the JSON schema for editors. Values are then checked as Azure would check them,
without looking at any state. Applying a file adds and changes, and deletes nothing. Every error names the file, the
line (of YAML) and the path.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta, Struct

from wisp_local.cloud import names
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, FederatedCredential
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError, SeedError
from wisp_local.cloud.state.store import Store

DEFAULT_LOCATION = "eastus"
_OWN_ISSUER_URL = "https://own.invalid/"  # in checks, instead of the URL that an issuer of the cloud's own will have
_Guid = Annotated[str, Meta(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
_YAML_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ERROR = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)


class Directory(Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant or a subscription."""

    id: Annotated[_Guid | None, Meta(description="generated if omitted")] = None
    name: Annotated[str | None, Meta(description="the display name")] = None


class Group(Struct, frozen=True, forbid_unknown_fields=True):
    """A resource group."""

    name: Annotated[str, Meta(description="the name")]
    location: Annotated[str | None, Meta(description="the region; default: `eastus`")] = None


class Issuer(Struct, frozen=True, forbid_unknown_fields=True):
    """An issuer elsewhere, or one of the cloud's own, whose URL depends on where the cloud is served."""

    name: Annotated[str, Meta(description="the name of the cluster, or the name that `issuer` refers to")]
    url: Annotated[
        str | None, Meta(description="the URL of an external issuer; if omitted, the local cloud is the issuer")
    ] = None
    id: Annotated[
        _Guid | None,
        Meta(description="the ID in the path `/oidc/ID/` of an issuer of the local cloud; generated if omitted"),
    ] = None


class Credential(Struct, frozen=True, forbid_unknown_fields=True):
    """A federated credential."""

    name: Annotated[str, Meta(description="the name")]
    issuer: Annotated[str, Meta(description="the https URL exactly as in the tokens, or the name of one of `issuers`")]
    subject: Annotated[
        str, Meta(description="the subject; for a service account `system:serviceaccount:NAMESPACE:NAME`")
    ]
    audience: Annotated[str, Meta(description=f"the audience; default: `{DEFAULT_AUDIENCE}`")] = DEFAULT_AUDIENCE


class Identity(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A user-assigned managed identity."""

    name: Annotated[str, Meta(description="the name")]
    resource_group: Annotated[str, Meta(description="the resource group, created if it does not exist")]
    location: Annotated[
        str | None, Meta(description="the region; default: that of the resource group, else `eastus`")
    ] = None
    client_id: Annotated[_Guid | None, Meta(description="generated if omitted")] = None
    principal_id: Annotated[_Guid | None, Meta(description="the object ID; generated if omitted")] = None
    federated_credentials: Annotated[tuple[Credential, ...], Meta(description="federated credentials, at most 20")] = ()


class Seed(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The content of a seed file."""

    tenant: Annotated[Directory, Meta(description="the tenant")] = Directory()
    subscription: Annotated[Directory, Meta(description="the subscription")] = Directory()
    resource_groups: Annotated[
        tuple[Group, ...],
        Meta(description="resource groups that are empty or in a region other than `eastus`"),
    ] = ()
    issuers: Annotated[tuple[Issuer, ...], Meta(description="issuers of assertions")] = ()
    identities: Annotated[tuple[Identity, ...], Meta(description="user-assigned managed identities")] = ()
    resources: Annotated[
        tuple[str, ...],
        Meta(description="resources for which tokens can be requested in addition to Azure's, such as `api://my-api`"),
    ] = ()


@dataclass(frozen=True)
class SeedFile:
    """A seed, and where in its file a path such as `identities[0]` is, for messages."""

    seed: Seed
    where: Callable[[str], str] = str


_TYPES: dict[str, type[Struct]] = {  # of the mappings, by the key of the mapping or list that they are in
    "": Seed,
    "tenant": Directory,
    "subscription": Directory,
    "resourceGroups": Group,
    "issuers": Issuer,
    "identities": Identity,
    "federatedCredentials": Credential,
}
_KEYS = frozenset(key for struct in _TYPES.values() for key in struct.__struct_encode_fields__)


def json_schema() -> dict[str, object]:
    """Return the JSON schema (2020-12) of a seed file, which editors complete and check it by."""
    schema = msgspec.json.schema(Seed)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Seed of a wisp local cloud", **schema}


def read_seed(text: str, source: str) -> SeedFile:
    """Read a seed file's text; `source` is its name, for messages. Raises `SeedError`."""
    document = _read(text, source)
    try:
        seed = msgspec.convert(document.content, Seed)
    except msgspec.ValidationError as error:
        raise _explained(document, str(error)) from None
    except UnicodeEncodeError:
        raise document.error("", "a key cannot be written as UTF-8", "correct the file") from None
    _check(document, seed)
    return SeedFile(seed, document.where)


@dataclass
class _Document:
    """A file as plain values; its paths' lines, and their scalars other than text as they were written, if YAML."""

    source: str
    content: object = None
    lines: dict[str, int] = field(default_factory=dict)
    scalars: dict[str, str] = field(default_factory=dict)

    def where(self, path: str, line: int | None = None) -> str:
        """Write where in the file `path` is; `line` is another one than that of the path."""
        line = line or self.lines.get(path)
        place = self.source if line is None else f"{self.source}, line {line}"
        return f"{place}: {path}" if path else place

    def error(self, path: str, problem: str, hint: str, line: int | None = None) -> SeedError:
        """Return the error about the value at `path`; `line` as in `where`."""
        return SeedError(f"{self.where(path, line)}: {problem}", hint=hint)

    def check(self, path: str, rule: Callable[..., None], *values: object) -> None:
        """Apply a rule of Azure's; its error then says where."""
        try:
            rule(*values)
        except RequestError as error:
            raise self.error(path, error.problem, error.hint) from error


def _read(text: str, source: str) -> _Document:
    """Parse YAML, or JSON if it begins with a brace: that is ten times faster, but has no lines.

    YAML is composed, not constructed, so that no tag creates an object.
    """
    document = _Document(source)
    line, reason = None, "it holds a control character, or is nested without end"
    try:
        if text.lstrip().startswith("{"):
            document.content = json.loads(text, object_pairs_hook=lambda pairs: _json_object(document, pairs))
        else:
            root = yaml.compose(text, Loader=_YAML_LOADER)
            content = None if root is None else _plain(document, root, "", root.start_mark.line + 1)
            document.content = {} if content is None else content
        return document  # noqa: TRY300 -- the errors of both parsers are handled below
    except json.JSONDecodeError as error:
        line, reason = error.lineno, error.msg
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        reason = error.problem or "it is malformed"
    except (yaml.YAMLError, RecursionError):
        pass
    except ValueError as error:  # such as a number of too many digits
        reason = str(error)
    raise document.error("", f"it is not YAML or JSON ({reason})", "correct the file", line)


def _json_object(document: _Document, pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise _duplicate_key(document, Counter(name for name, _ in pairs).most_common(1)[0][0])
    return _present(mapping)


def _duplicate_key(document: _Document, name: str, line: int | None = None) -> SeedError:
    return document.error("", f"the key {name!r} occurs twice", "keep one of them", line)


def _present(mapping: dict[str, object]) -> dict[str, object]:
    """Leave out the known keys that have no value: they are as good as absent."""
    return {name: value for name, value in mapping.items() if value is not None or name not in _KEYS}


def _plain(document: _Document, node: yaml.Node, path: str, line: int) -> object:
    """Turn a YAML node into plain values, noting lines; a value's line is its key's."""
    document.lines[path] = line
    match node:
        case yaml.MappingNode():
            mapping: dict[str, object] = {}
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else "?"
                line = key.start_mark.line + 1
                if name in mapping:
                    raise _duplicate_key(document, name, line)
                mapping[name] = _plain(document, value, f"{path}.{name}" if path else name, line)
            return _present(mapping)
        case yaml.SequenceNode():
            return [
                _plain(document, item, f"{path}[{number}]", item.start_mark.line + 1)
                for number, item in enumerate(node.value)
            ]
        case yaml.Node(tag="tag:yaml.org,2002:str"):
            return node.value
        case yaml.Node(tag="tag:yaml.org,2002:null"):
            return None
    document.scalars[path] = node.value
    return 0


def _explained(document: _Document, message: str) -> SeedError:
    """Turn an error message of msgspec's into ours."""
    found = _ERROR.fullmatch(message)
    problem, path = (found["problem"], found["path"] or "") if found else (message, "")
    value = _value(document.content, path)
    if about_field := _FIELD.fullmatch(problem):
        struct, name = _TYPES[path.rpartition(".")[2].partition("[")[0]], about_field[2]
        known = struct.__struct_encode_fields__
        if about_field[1] == "missing required":
            fields = msgspec.json.schema(struct)["$defs"][struct.__name__]["properties"]
            return document.error(path, f"{name} is missing", f"add {name}: {fields[name]['description']}")
        line = document.lines.get(f"{path}.{name}" if path else name)
        hint = nearest(name, known) or f"there is {', '.join(known)}"
        return document.error(path, f"unknown key {name!r}", hint, line)
    if "matching regex" in problem:
        hint = "give 8-4-4-4-12 hexadecimal digits, or leave it out"
        return document.error(path, f"{value!r} is not a GUID", hint)
    if problem.startswith("Expected `object"):
        return document.error(path, "this has to be a mapping (key: value)", "see docs/how-to/testing.md")
    if problem.startswith("Expected `array"):
        return document.error(path, "this has to be a list (- one - another)", "see docs/how-to/testing.md")
    hint = "see docs/how-to/testing.md"
    if isinstance(value, int | float):
        hint = f'put it in quotes: "{document.scalars.get(path, json.dumps(value))}"'
    return document.error(path, "this has to be text", hint)


def _value(content: object, path: str) -> object:
    for key in re.findall(r"[^.\[\]]+", path):
        if isinstance(content, list):
            content = content[int(key)]
        elif isinstance(content, dict):
            content = content.get(key)
    return content


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Ask whether the nearest of `known` is meant; None when none is near."""
    near = get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else None


def _check(document: _Document, seed: Seed) -> None:
    _must_differ(document, "resourceGroups", seed.resource_groups, "name")
    for number, group in enumerate(seed.resource_groups):
        path = f"resourceGroups[{number}]"
        document.check(path, names.check_name, "resource group", group.name)
        document.check(path, names.check_name, "location", group.location or DEFAULT_LOCATION)
    _must_differ(document, "issuers", seed.issuers, "name")
    for number, issuer in enumerate(seed.issuers):
        _check_issuer(document, f"issuers[{number}]", issuer)
    for keys in (("resourceGroup", "name"), ("clientId",), ("principalId",)):
        _must_differ(document, "identities", seed.identities, *keys)
    issuers = {issuer.name: issuer.url or _OWN_ISSUER_URL for issuer in seed.issuers}
    for number, identity in enumerate(seed.identities):
        _check_identity(document, f"identities[{number}]", identity, issuers)
    for number, uri in enumerate(seed.resources):
        document.check(f"resources[{number}]", names.check_resource, uri)


def _must_differ(document: _Document, path: str, items: Iterable[Struct], *keys: str, exactly: bool = False) -> None:
    """Raise for the second of `items` that has the same values at `keys`; in any case unless `exactly`, None aside."""
    seen: dict[tuple[str, ...], str] = {}
    for number, item in enumerate(items):
        fields = msgspec.to_builtins(item)
        values = [fields[key] for key in keys]
        if None in values:
            continue
        mark = tuple(values if exactly else (value.lower() for value in values))
        if mark in seen:
            problem = f"the same {' and '.join(keys)} as in {seen[mark]}"
            raise document.error(f"{path}[{number}].{keys[-1]}", problem, "change or delete one of them")
        seen[mark] = f"{path}[{number}]"


def _check_issuer(document: _Document, path: str, issuer: Issuer) -> None:
    document.check(path, names.check_name, "cluster", issuer.name)
    if issuer.url is not None and not names.is_issuer_url(issuer.url):
        problem = f"{issuer.url!r} is not an issuer's URL"
        raise document.error(f"{path}.url", problem, "give an https URL without query or user")
    if issuer.url is not None and issuer.id is not None:
        raise document.error(f"{path}.id", "an issuer elsewhere has no id here", "leave out id, or url")


def _check_identity(document: _Document, path: str, identity: Identity, issuers: dict[str, str]) -> None:
    for kind, name in (
        ("resource group", identity.resource_group),
        ("identity", identity.name),
        ("location", identity.location or DEFAULT_LOCATION),
    ):
        document.check(path, names.check_name, kind, name)
    credentials, path_of_list = identity.federated_credentials, f"{path}.federatedCredentials"
    _must_differ(document, path_of_list, credentials, "name")
    _must_differ(document, path_of_list, credentials, "issuer", "subject", exactly=True)
    if len(credentials) > names.MAXIMUM_FEDERATED_CREDENTIALS:
        problem = f"there are {len(credentials)}, and Azure's limit is {names.MAXIMUM_FEDERATED_CREDENTIALS}"
        raise document.error(path_of_list, problem, "use another identity for the rest")
    for number, credential in enumerate(credentials):
        item, issuer = f"{path_of_list}[{number}]", credential.issuer
        if issuer not in issuers and not names.is_issuer_url(issuer):
            hint = nearest(issuer, issuers) or "give an https URL"
            raise document.error(f"{item}.issuer", f"there is no issuer {issuer!r}", hint)
        url, audiences = issuers.get(issuer, issuer), (credential.audience,)
        checked = FederatedCredential(credential.name, url, credential.subject, audiences)
        document.check(item, names.check_credential, checked)


def load_seed(path: Path) -> SeedFile:
    """Read the seed file at `path`; raises `SeedError`."""
    try:
        return read_seed(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SeedError(f"{path} cannot be read ({error.strerror})", hint="name another file") from error
    except UnicodeDecodeError:
        raise SeedError(f"{path} is not UTF-8", hint="save it as UTF-8") from None


def apply_seed(file: SeedFile, store: Store, base_url: str | None) -> bool:
    """Apply all of the seed to `store`, or nothing; tell whether anything changed.

    `base_url` (without a slash at its end) is where the cloud is served, which the URLs of its own issuers begin with.
    Raises `ConflictError` for what the state has otherwise and Azure lets nobody change.
    """
    seed = file.seed
    with store.transaction():
        before = store.changes
        store.set_tenant(_lower(seed.tenant.id), seed.tenant.name)
        store.set_subscription(_lower(seed.subscription.id), seed.subscription.name)
        urls: dict[str, str | None] = {}
        for number, issuer in enumerate(seed.issuers):
            with _located(file, f"issuers[{number}]"):
                own_path = "" if issuer.url else store.issuers.put(issuer.name, _lower(issuer.id)).path
            urls[issuer.name] = issuer.url or (base_url and base_url + own_path)
        for number, group in enumerate(seed.resource_groups):
            with _located(file, f"resourceGroups[{number}]"):
                location = group.location or _group_location(store, group.name) or DEFAULT_LOCATION
                store.put_resource_group(group.name, location)
        for uri in seed.resources:
            store.put_resource(uri)
        for number, identity in enumerate(seed.identities):
            with _located(file, f"identities[{number}]"):
                _put_identity(store, identity, urls)
        return store.changes > before


@contextlib.contextmanager
def _located(file: SeedFile, path: str) -> Iterator[None]:
    try:
        yield
    except (ConflictError, RequestError) as error:
        raise type(error)(f"{file.where(path)}: {error.problem}", hint=error.hint) from error


def _lower(guid: str | None) -> str | None:
    return guid and guid.lower()


def _group_location(store: Store, name: str) -> str | None:
    with contextlib.suppress(NotFoundError):
        return store.resource_group(name).location
    return None


def _location(store: Store, entry: Identity) -> str:
    """Return the identity's location: the current one if the file does not say; its group is created when new."""
    group = _group_location(store, entry.resource_group)
    if group is None:
        group = store.put_resource_group(entry.resource_group, entry.location or DEFAULT_LOCATION).location
    elif entry.location is None:
        with contextlib.suppress(NotFoundError):
            return store.identity(entry.resource_group, entry.name).location
    return entry.location or group


def _put_identity(store: Store, entry: Identity, urls: Mapping[str, str | None]) -> None:
    client_id, principal_id = _lower(entry.client_id), _lower(entry.principal_id)
    location = _location(store, entry)
    identity = store.put_identity(entry.resource_group, entry.name, location, ids=(client_id, principal_id))
    for kind, requested, current in (
        ("client", client_id, identity.client_id),
        ("principal", principal_id, identity.principal_id),
    ):
        if requested not in (None, current):
            problem = f"identity {identity.name} has the {kind} id {current}, not {requested}"
            raise ConflictError(problem, hint="ids never change: delete the identity, or name another state")
    store.put_federated_credentials(
        identity, [_credential(credential, urls) for credential in entry.federated_credentials]
    )


def _credential(entry: Credential, urls: Mapping[str, str | None]) -> FederatedCredential:
    url = urls.get(entry.issuer, entry.issuer)
    if url is None:
        problem = f"federated credential {entry.name} trusts an issuer of the cloud's own, whose URL is not known"
        raise RequestError(problem, hint="give --url, the cloud's base URL")
    return FederatedCredential(entry.name, url, entry.subject, (entry.audience,))
