"""What a watch says, and how long to wait for the next."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import PATIENCE
from tests.unit.wisp.webhook.apiserver import ApiServer, running, service_account
from wisp.kubernetes.client import Api, Ask, UnansweredError
from wisp.kubernetes.config import Access, from_kubeconfig
from wisp.kubernetes.types import (
    Bookmark,
    Deleted,
    Event,
    Expired,
    Failed,
    Listing,
    Metadata,
    Status,
    Stored,
    event_of,
    item_of,
    listing_of,
    slim,
    status_of,
)
from wisp.kubernetes.watch import Watcher, pause
from wisp.webhook.accounts import ACCOUNTS, PREFIX, Accounts

ID = PREFIX + "client-id"


def line(kind: str, **document: Any) -> bytes:
    """Return a line of a watch."""
    return json.dumps({"type": kind, "object": document}).encode()


@pytest.mark.parametrize(
    "text, expected",
    [
        pytest.param(line("ADDED", metadata={"name": "a"}), Stored(Metadata("a")), id="added"),
        pytest.param(
            line("MODIFIED", metadata={"name": "a", "namespace": "n", "resourceVersion": "7"}, secrets=[], more={}),
            Stored(Metadata("a", "n", "7")),
            id="modified, with fields of no concern",
        ),
        pytest.param(line("DELETED", metadata={"name": "a"}), Deleted(Metadata("a")), id="deleted"),
        pytest.param(line("BOOKMARK", metadata={"resourceVersion": "9"}), Bookmark("9"), id="bookmark"),
        pytest.param(line("ERROR", code=410, message="too old"), Expired(), id="expired"),
        pytest.param(line("ERROR", code=500, message="etcd"), Failed("etcd"), id="another error"),
        pytest.param(line("ERROR"), Failed("an error without a message"), id="an error without a word"),
        pytest.param(line("NEW", metadata={"name": "a"}), Failed("no event: type 'NEW'"), id="a type of the future"),
    ],
)
def test_events(text: bytes, expected: Event) -> None:
    """Each line is one of five things."""
    assert event_of(text) == expected


@given(st.binary() | st.text().map(str.encode))
def test_rubbish_is_a_failure(text: bytes) -> None:
    """No line, list, object or status of an API server makes more than a failure."""
    assert isinstance(event_of(text), Failed)
    assert isinstance(listing_of(text), Failed)
    assert isinstance(item_of(text), Failed)
    assert status_of(502, text).message == "HTTP 502"


def test_messages_of_an_api_server_are_cut() -> None:
    """They hold what other webhooks and aggregated API servers say, and end in logs and in answers to users."""
    said = "m" * 100_000
    assert status_of(400, json.dumps({"message": said, "reason": said, "code": 400}).encode()) == Status(
        said[:1024], said[:1024], 400
    )
    assert event_of(line("ERROR", code=500, message=said)) == Failed(said[:1024])
    assert event_of(line("ERROR", code=500, reason=said)) == Failed(said[:1024])
    assert event_of(line(said, metadata={"name": "a"})) == Failed(f"no event: type {said[:64]!r}")


def test_a_list_of_nothing() -> None:
    """Go's encoder writes null for it."""
    found = listing_of(b'{"metadata": {"resourceVersion": "1"}, "items": null}')
    assert isinstance(found, Listing)
    assert found.items is None


def test_only_what_matters_is_held() -> None:
    """Labels and annotations of others are not."""
    found = slim(Metadata("a", "n", "1", {ID: "x", "kubectl": "long"}, {"app": "web"}), PREFIX)
    assert found == Metadata("a", "n", annotations={ID: "x"})


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses(failures: int, spread: float) -> None:
    """From half a second to 30, never shorter after more failures by the same chance."""
    assert 0.5 <= pause(failures, spread) <= pause(failures + 1, spread) <= 30


class Counter:
    """Counts restarts."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def restarted(self, kind: str, reason: str) -> None:
        """Count."""
        self.reasons.append(f"{kind}: {reason}")


@pytest.fixture(name="server")
def _server() -> Iterator[ApiServer]:
    with running() as server:
        yield server


@pytest.fixture(name="access")
def _access(server: ApiServer, tmp_path: Any) -> Access:
    return from_kubeconfig(server.write_kubeconfig(tmp_path / "kubeconfig"))


def follow(access: Access, until: Callable[[Accounts, Counter], Iterable[Callable[[], bool]]]) -> None:
    """Run a watcher; do each thing that `until` yields the waiting condition of."""

    async def scene() -> None:
        api = Api(access)
        accounts, counter = Accounts(api), Counter()
        task = asyncio.create_task(Watcher(api, ACCOUNTS, accounts, counter, pause=lambda _: 0.01).run())
        try:
            for condition in until(accounts, counter):
                async with asyncio.timeout(PATIENCE):
                    while not condition():
                        assert not task.done()
                        await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            api.close()
        assert task.cancelled()

    asyncio.run(scene())


def test_a_watchers_life(server: ApiServer, access: Access) -> None:
    """List, change, deletion, a connection that breaks, an expired version, refusals, a server that goes and comes."""

    def story(accounts: Accounts, counter: Counter) -> Iterator[Callable[[], bool]]:
        world = server.world
        world.put("serviceaccounts", service_account("a", client_id="1"))
        yield lambda: accounts.synced and accounts.get("default", "a") is not None
        world.put("serviceaccounts", service_account("b", client_id="1"))
        yield lambda: accounts.get("default", "b") is not None
        world.delete("serviceaccounts", "a", "default")
        yield lambda: accounts.get("default", "a") is None
        lists = world.asked("limit=")
        world.break_watches()
        world.put("serviceaccounts", service_account("c", client_id="1"))
        yield lambda: accounts.get("default", "c") is not None
        assert world.asked("limit=") == lists, "it goes on from where it was"
        world.expire()
        world.put("serviceaccounts", service_account("d", client_id="1"))
        yield lambda: accounts.get("default", "d") is not None
        assert any("expired" in each for each in counter.reasons)
        world.fault = lambda _method, _path: 500
        world.break_watches()
        failures = len(counter.reasons)
        yield lambda: len(counter.reasons) >= failures + 2
        assert accounts.get("default", "d") is not None, "what is known stays known"
        world.fault = lambda _method, _path: None
        world.delete("serviceaccounts", "d", "default")
        yield lambda: accounts.get("default", "d") is None
        server.stop()
        world.put("serviceaccounts", service_account("e", client_id="1"))
        server.start()
        yield lambda: accounts.get("default", "e") is not None

    follow(access, story)


def test_a_kept_connection_that_was_closed(server: ApiServer, access: Access) -> None:
    """Is no error: the question is put again on a new one."""

    async def scene() -> None:
        api = Api(access)
        assert (await api.ask(Ask("/version"))).status == 200
        server.stop()
        server.start()
        assert (await api.ask(Ask("/version"))).status == 200
        api.close()

    asyncio.run(scene())


def test_an_api_server_that_is_not_trusted(server: ApiServer, access: Access) -> None:
    """Hears nothing, no token above all."""
    other = ApiServer()
    other.port = server.port
    server.stop()
    other.start()
    with pytest.raises(UnansweredError, match="not trusted"):
        asyncio.run(Api(access).ask(Ask("/version")))
    assert not other.world.requests
    other.stop()
