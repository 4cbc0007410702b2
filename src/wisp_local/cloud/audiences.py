"""Decide which resources a tenant knows, and what to request instead of one that it does not; knows no request.

A tenant has a service principal for every resource that it issues tokens for. Those of Azure's services are in the
table of `wisp_local.cloud.services`; the user's own (`api://...`) are registered in the state.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from wisp_local.cloud.services import PUBLIC, SERVICES, AzureCloud, Service


@dataclass(frozen=True)
class Suggestion:
    """The service that a refused resource belongs to, the cloud it belongs to there, and what to request."""

    service: str
    cloud: AzureCloud
    resource: str


@dataclass(frozen=True)
class _Index:
    """The table for one cloud: names in the form of `_plain`, URLs of accounts, and every host of a service."""

    names: frozenset[str]
    accounts: re.Pattern[str]
    hosts: Mapping[str, Service]


def is_known(audience: str, registered: Collection[str], cloud: AzureCloud = PUBLIC) -> bool:
    """Tell whether a token can be issued for `audience` in `cloud`; `registered` are the tenant's own resources.

    Case does not matter, nor does one slash at the end: service principals are found by either form.
    """
    plain, index = _plain(audience), _index(cloud)
    return plain in index.names or plain in map(_plain, registered) or index.accounts.fullmatch(plain) is not None


def suggest(audience: str, cloud: AzureCloud = PUBLIC) -> Suggestion | None:
    """Return what to request instead of an unknown `audience` on a host of a service, here or in another cloud."""
    for each in (cloud, *(other for other in AzureCloud if other is not cloud)):
        service = _service_of(audience, each)
        if service is not None:
            return Suggestion(service.name, each, recommended(service, cloud))
    return None


def recommended(service: Service, cloud: AzureCloud) -> str:
    """Return the name of `service` to request in `cloud`: its first URI, else its application id; may be empty."""
    names = service.names.get(cloud)
    if names is None:
        return ""
    return names.uris[0] if names.uris else service.application_id or ""


def _service_of(audience: str, cloud: AzureCloud) -> Service | None:
    """Return the service that `audience` is a name of in `cloud`, or whose host it is on or below."""
    plain = _plain(audience)
    for service in SERVICES:
        names = service.names.get(cloud)
        if names is not None and (plain in map(_plain, names.uris) or _pattern(names.accounts).fullmatch(plain)):
            return service
    hosts, labels = _index(cloud).hosts, _host(audience).split(".")
    suffixes = (".".join(labels[start:]) for start in range(len(labels)))
    return next((hosts[each] for each in suffixes if each in hosts), None)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@cache
def _index(cloud: AzureCloud) -> _Index:
    rows = [(service, service.names[cloud]) for service in SERVICES if cloud in service.names]
    return _Index(
        frozenset(
            _plain(each)
            for service, names in rows
            for each in (*names.uris, service.application_id)
            if each is not None
        ),
        _pattern(tuple(each for _, names in rows for each in names.accounts)),
        {
            **{_host(each): service for service, names in rows for each in names.uris if each.startswith("https:")},
            **{each: service for service, names in rows for each in names.endpoints},
        },
    )


@cache
def _pattern(accounts: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of the URLs of `accounts`; of none at all it matches nothing."""
    hosts = (re.escape(each).replace(r"\*", "[a-z0-9-]+") for each in accounts)
    return re.compile(f"https://(?:{'|'.join(hosts)})" if accounts else "(?!)", re.ASCII)


def _plain(resource: str) -> str:
    return resource.removesuffix("/").lower()
