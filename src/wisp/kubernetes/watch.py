"""Watch one kind of object: a list, then a watch from there. List again only if the watch cannot continue."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import assert_never
from urllib.parse import urlencode

from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.types import (
    METADATA,
    METADATA_LIST,
    ApiRequest,
    ApiUnavailableError,
    Bookmark,
    Changed,
    Deleted,
    Expired,
    Failed,
    Metadata,
    Resource,
    WatchedObjects,
    parse_event,
    parse_page,
    parse_status,
)

_PAGE_SIZE = 500
_WATCH_SECONDS = 300
"""A watch is started again after this time, from where it was, so that API servers share the load again."""
_SHORT_WATCH = 1.0
"""Seconds: a watch that ends sooner counts as a failure."""
_LONGEST_PAUSE = 30.0
_FAILURES_BEFORE_LIST = 3

OnRestart = Callable[[str, str], None]
"""Is called with a resource's name and a reason when a list has to be made again or a watch did not work."""


class _ExpiredError(Exception):
    """The watch cannot continue from its resource version (410 Gone)."""


def pause(failures: int, spread: float) -> float:
    """Return how many seconds to wait after so many failures in a row; `spread` is a random number in [0, 1)."""
    doubled: float = 2.0 ** min(failures - 1, 8)
    return min(_LONGEST_PAUSE, doubled) * (0.5 + 0.5 * spread)


def random_pause(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row, at random so that replicas differ."""
    return pause(failures, random.random())  # noqa: S311 -- not for security


class Watcher:
    """Keep `objects` equal to the API server's; `run` never returns."""

    def __init__(
        self,
        api: ApiClient,
        resource: Resource,
        objects: WatchedObjects,
        on_restart: OnRestart,
        pause: Callable[[int], float] = random_pause,
    ) -> None:
        self._api = api
        self._resource = resource
        self._objects = objects
        self._on_restart = on_restart
        self._pause = pause
        self._failures = 0

    async def run(self) -> None:
        """List and watch, indefinitely."""
        version = ""
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            try:
                version = version or await self._list()
                async with aclosing(self._watch(version)) as versions:
                    async for latest in versions:
                        version, self._failures = latest, 0
                self._failures += clock() - started < _SHORT_WATCH  # or it would be a busy loop
            except _ExpiredError:
                version = ""
                self._on_restart(self._resource.name, "the watch has expired")
            except ApiUnavailableError as error:
                self._on_restart(self._resource.name, str(error))
                self._failures += 1
                version = version if self._failures % _FAILURES_BEFORE_LIST else ""
            if self._failures:
                await asyncio.sleep(self._pause(self._failures))

    async def _list(self) -> str:
        """Replace the objects by a list, page by page; return its resource version."""
        found: list[Metadata] = []
        token = ""
        while True:
            path = self._path(limit=str(_PAGE_SIZE), **({"continue": token} if token else {}))
            response = await self._api.request(ApiRequest(path, accept=METADATA_LIST))
            if response.status == 410:
                raise _ExpiredError
            if response.status != 200:
                raise ApiUnavailableError(parse_status(response.status, response.body).message)
            page = parse_page(response.body)
            if isinstance(page, Failed):
                raise ApiUnavailableError(page.reason)
            found += [self._objects.reduced(item.metadata) for item in page.items or ()]
            token = page.metadata.continue_
            if not token:
                self._objects.replace(found)
                return page.metadata.resource_version

    async def _watch(self, version: str) -> AsyncGenerator[str, None]:
        """Give the resource version after each event."""
        path = self._path(
            watch="1", allowWatchBookmarks="true", resourceVersion=version, timeoutSeconds=str(_WATCH_SECONDS)
        )
        async with self._api.stream(ApiRequest(path, accept=METADATA)) as (status, lines), aclosing(lines):
            if status == 410:
                raise _ExpiredError
            if status != 200:
                raise ApiUnavailableError(f"the watch was rejected: HTTP {status}")
            async for line in lines:
                if line.strip():
                    yield self._apply(line) or version

    def _apply(self, line: bytes) -> str:
        event = parse_event(line)
        match event:
            case Changed(metadata=metadata):
                self._objects.put(metadata)
                return metadata.resource_version
            case Deleted(metadata=metadata):
                self._objects.delete(metadata)
                return metadata.resource_version
            case Bookmark(resource_version=version):
                return version
            case Expired():
                raise _ExpiredError
            case Failed(reason=reason):
                raise ApiUnavailableError(reason)
            case _:
                assert_never(event)

    def _path(self, **parameters: str) -> str:
        if self._resource.field_selector:
            parameters["fieldSelector"] = self._resource.field_selector
        return f"{self._resource.path}?{urlencode(parameters)}"


class ChangeNotifier:
    """Watched objects of which nothing is kept: every change calls `notify`."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify

    def reduced(self, metadata: Metadata) -> Metadata:
        """Return `metadata` as it is."""
        return metadata

    def replace(self, objects: Iterable[Metadata]) -> None:  # noqa: ARG002 -- the protocol's signature
        """Notify."""
        self._notify()

    def put(self, metadata: Metadata) -> None:  # noqa: ARG002 -- the protocol's signature
        """Notify."""
        self._notify()

    delete = put
