"""Decide which resources a tenant knows, and which to request instead of an unknown one.

A tenant has a service principal for every resource that it issues tokens for. Those of Azure's services are in the
table `services.toml`, which explains its fields; the user's own (`api://...`) are registered in the state.
"""

import pkgutil
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any
from urllib.parse import urlsplit

_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/][^\s]*|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class AzureCloud(Enum):
    """One of Azure's clouds; the values are the names that Azure's SDKs use."""

    PUBLIC = "AzurePublicCloud"
    US_GOVERNMENT = "AzureUSGovernmentCloud"
    CHINA = "AzureChinaCloud"
    GERMANY = "AzureGermanCloud"


PUBLIC, US_GOVERNMENT, CHINA, GERMANY = AzureCloud
RESOURCE_MANAGER = "Azure Resource Manager"  # names of rows
MICROSOFT_GRAPH = "Microsoft Graph"


@dataclass(frozen=True)
class Names:
    """What one cloud calls a service."""

    uris: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """A service of Azure: a row of the table."""

    name: str
    source: str
    names: Mapping[AzureCloud, Names]
    application_id: str | None = None


@dataclass(frozen=True)
class Suggestion:
    """The service that a refused resource belongs to, the cloud where it does, and what to request."""

    service: str
    cloud: AzureCloud
    resource: str


@dataclass(frozen=True)
class _Index:
    """The table for one cloud: names in the form of `_plain`, URLs of accounts, and every host of a service."""

    names: frozenset[str]
    accounts: re.Pattern[str]
    hosts: Mapping[str, Service]


@cache
def services() -> Mapping[str, Service]:
    """Return every service that can be requested without being registered, by name."""
    import tomllib  # noqa: PLC0415 -- most commands need no table, and so no parser

    table = tomllib.loads((pkgutil.get_data(__package__, "services.toml") or b"").decode())
    return {row["name"]: _service(row) for row in table["service"]}


def _service(row: Mapping[str, Any]) -> Service:
    names = {
        cloud: Names(**{field: tuple(values) for field, values in row[key].items()})
        for cloud in AzureCloud
        if (key := cloud.name.lower()) in row
    }
    return Service(row["name"], row["source"], names, row.get("application_id"))


def is_resource(text: str) -> bool:
    """Tell whether `text` can be the audience of an access token: a URI with a host, or a GUID."""
    return _RESOURCE.fullmatch(text) is not None


def is_known(audience: str, registered: Collection[str], cloud: AzureCloud = PUBLIC) -> bool:
    """Tell whether a token can be issued for `audience` in `cloud`; `registered` are the tenant's own resources.

    Neither case nor one slash at the end matters: service principals are found by either form.
    """
    plain, index = _plain(audience), _index(cloud)
    return plain in index.names or plain in map(_plain, registered) or index.accounts.fullmatch(plain) is not None


def suggest(audience: str, cloud: AzureCloud = PUBLIC) -> Suggestion | None:
    """Return what to request instead of an unknown `audience` on a host of a service, here or in another cloud."""
    for candidate in (cloud, *(other for other in AzureCloud if other is not cloud)):
        service = _service_of(audience, candidate)
        if service is not None:
            return Suggestion(service.name, candidate, recommended(service, cloud))
    return None


def recommended(service: Service, cloud: AzureCloud) -> str:
    """Return the name of `service` to request in `cloud`: its first URI, else its application id; may be empty."""
    names = service.names.get(cloud)
    if names is None:
        return ""
    return names.uris[0] if names.uris else service.application_id or ""


def _service_of(audience: str, cloud: AzureCloud) -> Service | None:
    """Return the service that has `audience` as a name in `cloud`, or that it is on a host of, or below one."""
    plain = _plain(audience)
    for service in services().values():
        names = service.names.get(cloud)
        if names is not None and (plain in map(_plain, names.uris) or _pattern(names.accounts).fullmatch(plain)):
            return service
    hosts, labels = _index(cloud).hosts, _host(audience).split(".")
    suffixes = (".".join(labels[start:]) for start in range(len(labels)))
    return next((hosts[suffix] for suffix in suffixes if suffix in hosts), None)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@cache
def _index(cloud: AzureCloud) -> _Index:
    rows = [(service, service.names[cloud]) for service in services().values() if cloud in service.names]
    known = {_plain(uri) for _, names in rows for uri in names.uris}
    accounts = tuple(account for _, names in rows for account in names.accounts)
    hosts = {_host(uri): service for service, names in rows for uri in names.uris if uri.startswith("https:")}
    endpoints = {endpoint: service for service, names in rows for endpoint in names.endpoints}
    application_ids = {service.application_id for service, _ in rows if service.application_id}
    return _Index(frozenset(known | application_ids), _pattern(accounts), hosts | endpoints)


@cache
def _pattern(accounts: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of the URLs of `accounts`; without any it matches nothing."""
    hosts = (re.escape(account).replace(r"\*", "[a-z0-9-]+") for account in accounts)
    return re.compile(f"https://(?:{'|'.join(hosts)})" if accounts else "(?!)", re.ASCII)


def _plain(resource: str) -> str:
    return resource.removesuffix("/").lower()
