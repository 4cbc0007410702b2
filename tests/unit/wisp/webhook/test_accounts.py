"""Lookups of service accounts: what is read from the API server, how often, and how many at a time."""

import asyncio
import json

import pytest

from tests.support.fakes import Clock
from tests.unit.wisp.kubernetes.apiserver import service_account
from wisp.admission.annotations import PREFIX
from wisp.kubernetes.types import ApiRequest, ApiResponse, ApiUnavailableError, Metadata
from wisp.webhook.accounts import (
    CONCURRENT_READS,
    MISSING_LIMIT,
    MISSING_SECONDS,
    QUEUE_LIMIT,
    READ_TIMEOUT,
    AccountMissing,
    AccountUnknown,
    Found,
    ServiceAccounts,
)

ID = PREFIX + "client-id"
MISSING = ApiResponse(404, b"")


class Script:
    """Answers of an API server, in order; the last one is repeated."""

    def __init__(self, *replies: ApiResponse | ApiUnavailableError) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def request(self, request: ApiRequest, time_limit: float | None = None) -> ApiResponse:
        """Answer."""
        assert time_limit is not None, "a review waits"
        self.asked.append(request.path)
        await self.hold.wait()
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, ApiUnavailableError):
            raise reply
        return reply


def reply(name: str = "a", **annotations: str) -> ApiResponse:
    """Return an account as the API server does."""
    return ApiResponse(200, json.dumps(service_account(name, "n", **annotations)).encode())


@pytest.mark.parametrize(
    "response, expected",
    [
        pytest.param(ApiResponse(404, b""), AccountMissing(), id="absent"),
        pytest.param(ApiResponse(403, b'{"message": "no right"}'), AccountUnknown("no right"), id="forbidden"),
        pytest.param(ApiResponse(500, b"<html>"), AccountUnknown("HTTP 500"), id="broken"),
        pytest.param(ApiUnavailableError("gone"), AccountUnknown("gone"), id="not there"),
    ],
)
def test_lookup_result_for_each_response(response: ApiResponse | ApiUnavailableError, expected: Found) -> None:
    assert asyncio.run(ServiceAccounts(Script(response)).look_up("n", "a")) == expected


@pytest.mark.parametrize(
    "namespace, name",
    [
        ("n", "../secrets/x?y"),
        ("n", ""),
        ("", "a"),
        ("n", "a" * 254),
        ("n" * 64, "a"),
        ("n.m", "a"),
        ("n", "A"),
        ("n", "a..b"),
        ("n", "a\n"),
        ("n", "-a"),
        ("n", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ],
    ids=ascii,
)
def test_impossible_name_is_absent_without_a_read(namespace: str, name: str) -> None:
    """No account can have it, so the API server is not asked."""
    script = Script(reply())
    assert asyncio.run(ServiceAccounts(script).look_up(namespace, name)) == AccountMissing()
    assert script.asked == []


@pytest.mark.parametrize("name", ["a", "0", "a-b.c-d", "a" * 253], ids=lambda name: name[:9])
def test_possible_name_is_read(name: str) -> None:
    """As far as the rules of names go, there may be such an account."""
    script = Script(MISSING)
    assert asyncio.run(ServiceAccounts(script).look_up("n", name)) == AccountMissing()
    assert script.asked == [f"/api/v1/namespaces/n/serviceaccounts/{name}"]


def test_concurrent_lookups_share_one_read() -> None:
    async def scenario() -> None:
        script = Script(reply(client_id="x"))
        script.hold.clear()
        accounts = ServiceAccounts(script)
        waiting = [asyncio.create_task(accounts.look_up("n", "a")) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        script.hold.set()
        found = await asyncio.gather(*waiting[1:])
        assert all(
            not isinstance(result, AccountMissing | AccountUnknown) and result["metadata"]["name"] == "a"
            for result in found
        )
        assert len(script.asked) == 1

    asyncio.run(scenario())


def test_lookup_is_not_answered_by_a_read_that_was_sent_before_it() -> None:
    async def scenario() -> None:
        script = Script(reply(), reply(client_id="x"))
        script.hold.clear()
        accounts = ServiceAccounts(script, Clock())
        early = asyncio.create_task(accounts.look_up("n", "a"))
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(script.asked) == 1
        late = [asyncio.create_task(accounts.look_up("n", "a")) for _ in range(5)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(script.asked) == 1
        script.hold.set()
        await early
        for found in await asyncio.gather(*late):
            assert isinstance(found, dict)
            assert found["metadata"]["annotations"] == {ID: "x"}
        assert len(script.asked) == 2

    asyncio.run(scenario())


def test_known_account_is_served_when_the_api_server_does_not_answer() -> None:
    accounts = ServiceAccounts(Script(ApiUnavailableError("gone"), ApiUnavailableError("gone")))
    accounts.replace([Metadata("bare", "n"), Metadata("labelled", "n", labels={PREFIX + "use": "true"})])
    assert accounts.get("n", "bare") is None
    for name in ("bare", "labelled"):
        found = asyncio.run(accounts.look_up("n", name))
        assert isinstance(found, dict)
        assert found["metadata"]["name"] == name


def test_missing_account_is_read_once_in_two_seconds() -> None:
    """300 reviews for three missing accounts cause three reads; two seconds later three more."""

    async def scenario() -> None:
        script, clock = Script(MISSING), Clock()
        accounts = ServiceAccounts(script, clock)
        for _ in range(100):
            for name in "abc":
                assert await accounts.look_up("n", name) == AccountMissing()
        assert len(script.asked) == accounts.reads == 3
        clock.now += MISSING_SECONDS
        for name in "abc":
            await accounts.look_up("n", name)
        assert len(script.asked) == accounts.reads == 6

    asyncio.run(scenario())


@pytest.mark.parametrize("listed", [False, True], ids=["watch event", "new list"])
def test_missing_account_is_found_as_soon_as_the_watch_brings_it(*, listed: bool) -> None:
    """What was remembered of it is forgotten at once, also when it is then deleted and made again."""

    async def scenario() -> None:
        script = Script(MISSING, reply(client_id="x"))
        accounts, account = ServiceAccounts(script, Clock()), Metadata("a", "n")
        assert await accounts.look_up("n", "a") == AccountMissing()
        if listed:
            accounts.replace([account])
        else:
            accounts.put(account)
        assert isinstance(await accounts.look_up("n", "a"), dict)
        accounts.delete(account)
        assert isinstance(await accounts.look_up("n", "a"), dict), "the watch may lag behind"
        assert len(script.asked) == 3

    asyncio.run(scenario())


def test_account_made_during_its_lookup_is_not_missing() -> None:
    """The API server was asked before it existed, and the watch is quicker than the answer."""

    async def scenario() -> None:
        script = Script(MISSING)
        script.hold.clear()
        accounts = ServiceAccounts(script, Clock())
        waiting = asyncio.create_task(accounts.look_up("n", "a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        accounts.put(Metadata("a", "n"))
        script.hold.set()
        found = await waiting
        assert isinstance(found, dict)
        assert found["metadata"]["name"] == "a"

    asyncio.run(scenario())


def test_number_of_missing_accounts_remembered_is_bounded() -> None:
    """The oldest makes room for the newest."""

    async def scenario() -> None:
        script = Script(MISSING)
        accounts = ServiceAccounts(script, Clock())
        for number in range(MISSING_LIMIT + 1):
            await accounts.look_up("n", f"a{number}")
        await accounts.look_up("n", f"a{MISSING_LIMIT}")
        await accounts.look_up("n", "a1")
        assert len(script.asked) == MISSING_LIMIT + 1, "both are remembered"
        await accounts.look_up("n", "a0")
        assert len(script.asked) == MISSING_LIMIT + 2, "the oldest is not"

    asyncio.run(scenario())


async def _flood(accounts: ServiceAccounts, script: Script) -> list[asyncio.Task[Found]]:
    """Start as many lookups of invented names as are taken; the API server does not answer yet."""
    script.hold.clear()
    lookups = [
        asyncio.create_task(accounts.look_up("n", f"invented-{number}"))
        for number in range(CONCURRENT_READS + QUEUE_LIMIT)
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(lookup.done() for lookup in lookups)
    return lookups


def test_reads_at_a_time_are_limited() -> None:
    """The other lookups wait in a queue; those beyond it are refused for now; in the end all in it are answered."""

    async def scenario() -> None:
        script = Script(MISSING)
        accounts = ServiceAccounts(script, Clock())
        lookups = await _flood(accounts, script)
        assert len(script.asked) == CONCURRENT_READS
        refused = await accounts.look_up("n", "one-more")
        assert refused == AccountUnknown("too many service accounts are being looked up")
        script.hold.set()
        assert set(await asyncio.gather(*lookups)) == {AccountMissing()}
        assert await accounts.look_up("n", "one-more") == AccountMissing(), "there is room again"

    asyncio.run(scenario())


def test_known_account_is_read_before_invented_names() -> None:
    """An account that the watch has brought, and that may just be getting its client id, waits for none of them."""

    async def scenario() -> None:
        script = Script(reply(client_id="x"))
        accounts = ServiceAccounts(script, Clock())
        accounts.replace([Metadata("a", "n")])
        flood = await _flood(accounts, script)
        found = asyncio.create_task(accounts.look_up("n", "a"))
        for _ in range(3):
            await asyncio.sleep(0)
        assert script.asked[CONCURRENT_READS:] == ["/api/v1/namespaces/n/serviceaccounts/a"]
        script.hold.set()
        account = await found
        assert isinstance(account, dict)
        assert account["metadata"]["annotations"] == {ID: "x"}
        await asyncio.gather(*flood)

    asyncio.run(scenario())


def test_known_account_is_served_as_it_is_when_too_many_are_read() -> None:
    """As when the API server does not answer."""

    async def scenario() -> None:
        script = Script(reply())
        accounts = ServiceAccounts(script, Clock())
        accounts.replace([Metadata(f"invented-{number}", "n") for number in range(CONCURRENT_READS + QUEUE_LIMIT)])
        accounts.put(Metadata("a", "n"))
        flood = await _flood(accounts, script)
        found = await accounts.look_up("n", "a")
        assert isinstance(found, dict)
        assert found["metadata"]["name"] == "a"
        script.hold.set()
        await asyncio.gather(*flood)

    asyncio.run(scenario())


def test_account_that_the_watch_brings_while_it_waits_is_not_read() -> None:
    """A pod made a moment after its account gets its identity, however many names are invented meanwhile."""

    async def scenario() -> None:
        script = Script(MISSING)
        accounts = ServiceAccounts(script, Clock())
        flood = await _flood(accounts, script)
        flood.pop().cancel()
        genuine = asyncio.create_task(accounts.look_up("n", f"invented-{CONCURRENT_READS + QUEUE_LIMIT - 1}"))
        await asyncio.sleep(0)
        accounts.put(Metadata(f"invented-{CONCURRENT_READS + QUEUE_LIMIT - 1}", "n", annotations={ID: "x"}))
        script.hold.set()
        found = await genuine
        assert isinstance(found, dict)
        assert found["metadata"]["annotations"] == {ID: "x"}
        await asyncio.gather(*flood)
        assert not any(path.endswith(f"-{CONCURRENT_READS + QUEUE_LIMIT - 1}") for path in script.asked)

    asyncio.run(scenario())


def test_lookup_that_waited_too_long_is_not_read() -> None:
    """Nobody waits for it any more, and the API server has been slow enough."""

    async def scenario() -> None:
        script, clock = Script(MISSING), Clock()
        accounts = ServiceAccounts(script, clock)
        flood = await _flood(accounts, script)
        clock.now += READ_TIMEOUT + 1
        script.hold.set()
        found = await asyncio.gather(*flood)
        assert (
            found
            == [AccountMissing()] * CONCURRENT_READS
            + [AccountUnknown("the lookups before it took too long")] * QUEUE_LIMIT
        )
        assert len(script.asked) == CONCURRENT_READS

    asyncio.run(scenario())
