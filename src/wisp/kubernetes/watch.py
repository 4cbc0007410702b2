"""Follows one kind of object: a list, then a watch from there; a list again only where the watch cannot go on."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import NamedTuple, Protocol, assert_never
from urllib.parse import urlencode

from wisp.kubernetes.client import Api, Ask, UnansweredError
from wisp.kubernetes.types import (
    METADATA,
    METADATA_LIST,
    Bookmark,
    Deleted,
    Expired,
    Failed,
    Metadata,
    Stored,
    event_of,
    listing_of,
    status_of,
)

_PAGE = 500
_LASTS = 300
"""Seconds after which a watch is begun anew, from where it was: API servers are not loaded unevenly for ever."""
_SHORT = 1.0
"""Seconds: a watch that ends in less has not done well."""
_LONGEST_PAUSE = 30.0
_RELIST = 3
"""Failures in a row after which the place in the watch is given up too."""


class Sink(Protocol):
    """What is kept up to date."""

    def replace(self, objects: Iterable[Metadata]) -> None:
        """Take these for all that there are."""

    def slim(self, metadata: Metadata) -> Metadata:
        """Return what of an object is to be held until its list is whole."""

    def put(self, metadata: Metadata) -> None:
        """Take note of a new or changed object."""

    def drop(self, metadata: Metadata) -> None:
        """Take note that an object is gone."""


class Observer(Protocol):
    """What counts and tells of what happens to a watch."""

    def restarted(self, kind: str, reason: str) -> None:
        """Take note that a list had to be made again, or a watch did not work."""


class Kind(NamedTuple):
    """What is followed: its name for people, the path of its list, and a field selector."""

    name: str
    path: str
    selector: str = ""


class Gone(Exception):  # noqa: N818 -- the API's word (410)
    """The watch cannot go on from where it was."""


def pause(failures: int, spread: float) -> float:
    """Return how many seconds to wait after so many failures in a row; `spread` is a random number in [0, 1)."""
    doubled: float = 2.0 ** min(failures - 1, 8)
    return min(_LONGEST_PAUSE, doubled) * (0.5 + 0.5 * spread)


def by_chance(failures: int) -> float:
    """Return such a pause, at random: replicas are to be apart from each other."""
    return pause(failures, random.random())  # noqa: S311 -- not for security


class Watcher:
    """Keep `sink` as the API server's objects are; `run` never returns."""

    def __init__(
        self, api: Api, kind: Kind, sink: Sink, observer: Observer, pause: Callable[[int], float] = by_chance
    ) -> None:
        self._api = api
        self._kind = kind
        self._sink = sink
        self._observer = observer
        self._pause = pause
        self._failures = 0

    async def run(self) -> None:
        """List and watch, for ever."""
        version = ""
        clock = asyncio.get_running_loop().time
        while True:
            begun = clock()
            try:
                version = version or await self._list()
                async with aclosing(self._watch(version)) as versions:
                    async for latest in versions:
                        version, self._failures = latest, 0
                self._failures += clock() - begun < _SHORT  # one that ends at once must not become all that we do
            except Gone:
                version = ""
                self._observer.restarted(self._kind.name, "the watch has expired")
            except UnansweredError as error:
                self._observer.restarted(self._kind.name, str(error))
                self._failures += 1
                version = version if self._failures % _RELIST else ""
            if self._failures:
                await asyncio.sleep(self._pause(self._failures))

    async def _list(self) -> str:
        found: list[Metadata] = []
        token = ""
        while True:
            query = self._query(limit=str(_PAGE), **({"continue": token} if token else {}))
            reply = await self._api.ask(Ask(query, accept=METADATA_LIST))
            if reply.status == 410:
                raise Gone
            if reply.status != 200:
                raise UnansweredError(status_of(reply.status, reply.body).message)
            listing = listing_of(reply.body)
            if isinstance(listing, Failed):
                raise UnansweredError(listing.reason)
            found += [self._sink.slim(item.metadata) for item in listing.items or ()]
            token = listing.metadata.continue_
            if not token:
                self._sink.replace(found)
                return listing.metadata.resource_version

    async def _watch(self, version: str) -> AsyncGenerator[str, None]:
        """Give the resource version after each event."""
        query = self._query(watch="1", allowWatchBookmarks="true", resourceVersion=version, timeoutSeconds=str(_LASTS))
        async with self._api.lines(Ask(query, accept=METADATA)) as (status, lines), aclosing(lines):
            if status == 410:
                raise Gone
            if status != 200:
                raise UnansweredError(f"the watch was refused: HTTP {status}")
            async for line in lines:
                if line.strip():
                    yield self._apply(line) or version

    def _apply(self, line: bytes) -> str:
        event = event_of(line)
        match event:
            case Stored(metadata=metadata):
                self._sink.put(metadata)
                return metadata.resource_version
            case Deleted(metadata=metadata):
                self._sink.drop(metadata)
                return metadata.resource_version
            case Bookmark(resource_version=version):
                return version
            case Expired():
                raise Gone
            case Failed(reason=reason):
                raise UnansweredError(reason)
            case _:
                assert_never(event)

    def _query(self, **parameters: str) -> str:
        if self._kind.selector:
            parameters["fieldSelector"] = self._kind.selector
        return f"{self._kind.path}?{urlencode(parameters)}"
