"""What a local cloud is to hold, read from a seed file; knows no state, and so not what is there already.

Every value is checked as Azure would check it, and every error says file, line and path.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from wisp_local.cloud import names
from wisp_local.cloud.directory import DEFAULT_AUDIENCE, MAXIMUM_FEDERATED_CREDENTIALS
from wisp_local.cloud.errors import RequestError
from wisp_local.cloud.seedfields import Fields, nearest
from wisp_local.cloud.seedformat import ROOT
from wisp_local.cloud.seedtext import read_text

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
        resources=tuple(root.texts("resources", _check_resource)),
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
    if len(credentials) > MAXIMUM_FEDERATED_CREDENTIALS:
        problem = f"there are {len(credentials)}, and Azure's limit is {MAXIMUM_FEDERATED_CREDENTIALS}"
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
    found.check(names.check_credential, name, url, subject, (audience,))
    return Credential(name, known or issuer, subject, audience)


def _check_resource(uri: str) -> None:
    if not names.is_resource(uri):
        raise RequestError(f"{uri!a:.80} cannot be a resource", hint="give a URI such as api://my-api, or a GUID")
