"""Watches: changes they report, faults that restart them, and pauses before a restart."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import wait_until_async
from tests.unit.wisp.kubernetes import apiserver
from tests.unit.wisp.kubernetes.apiserver import service_account
from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.config import ApiServer
from wisp.kubernetes.types import Metadata, Resource
from wisp.kubernetes.watch import Watcher, pause

SERVICE_ACCOUNTS = Resource("serviceaccounts", "/api/v1/serviceaccounts")


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_with_failures_up_to_half_a_minute(failures: int, spread: float) -> None:
    """Pauses are 0.5 to 30 seconds; with the same random number they never get shorter."""
    assert 0.5 <= pause(failures, spread) <= pause(failures + 1, spread) <= 30


class Copy:
    """The names of the objects that a watcher reports."""

    def __init__(self) -> None:
        self.names: set[str] | None = None
        """None before the first list."""
        self.restarts: list[str] = []

    def reduced(self, metadata: Metadata) -> Metadata:
        """Return all names."""
        return metadata

    def replace(self, objects: Iterable[Metadata]) -> None:
        """Replace all names."""
        self.names = {metadata.name for metadata in objects}

    def put(self, metadata: Metadata) -> None:
        """Add a name."""
        assert self.names is not None
        self.names.add(metadata.name)

    def delete(self, metadata: Metadata) -> None:
        """Remove a name."""
        assert self.names is not None
        self.names.discard(metadata.name)

    def has(self, name: str) -> bool:
        """Return whether an object of this name exists."""
        return self.names is not None and name in self.names

    def restarted(self, resource: str, reason: str) -> None:
        """Count a restart."""
        self.restarts.append(f"{resource}: {reason}")


def follow(config: ApiServer, script: Callable[[Copy], Iterable[Callable[[], bool]]]) -> None:
    """Run a watcher; wait for each condition that `script` yields before resuming it."""

    async def scenario() -> None:
        client, copy = ApiClient(config), Copy()
        watcher = Watcher(client, SERVICE_ACCOUNTS, copy, copy.restarted, pause=lambda _: 0.01)
        task = asyncio.create_task(watcher.run())
        try:
            for condition in script(copy):
                await wait_until_async(lambda condition=condition: task.done() or condition())  # type: ignore[misc]
                assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            client.close()
        assert task.cancelled()

    asyncio.run(scenario())


def test_watcher_follows_changes_through_every_kind_of_fault(server: apiserver.ApiServer, config: ApiServer) -> None:
    """It lists, follows changes and deletions, and recovers from broken connections, expired versions and restarts."""

    def script(copy: Copy) -> Iterator[Callable[[], bool]]:
        world = server.world
        world.put("serviceaccounts", service_account("a"))
        yield lambda: copy.has("a")
        world.put("serviceaccounts", service_account("b"))
        yield lambda: copy.has("b")
        world.delete("serviceaccounts", "a", "default")
        yield lambda: not copy.has("a")
        lists = world.count_requests("limit=")
        world.break_watches()
        world.put("serviceaccounts", service_account("c"))
        yield lambda: copy.has("c")
        assert world.count_requests("limit=") == lists, "the watch continues from where it was"
        world.expire()
        world.put("serviceaccounts", service_account("d"))
        yield lambda: copy.has("d")
        assert any("expired" in restart for restart in copy.restarts)
        world.fault = lambda _method, _path: 500
        world.break_watches()
        failures = len(copy.restarts)
        yield lambda: len(copy.restarts) >= failures + 2
        assert copy.has("d"), "known objects stay known"
        world.fault = lambda _method, _path: None
        world.delete("serviceaccounts", "d", "default")
        yield lambda: not copy.has("d")
        server.stop()
        world.put("serviceaccounts", service_account("e"))
        server.start()
        yield lambda: copy.has("e")

    follow(config, script)
