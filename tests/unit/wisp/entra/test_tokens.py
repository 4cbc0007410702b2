"""The token store, event by event."""

from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from tests.support.fakes import ASK, Clock, HeldExchange, UnixClock, granted
from wisp.base.secret import Secret
from wisp.entra.freshness import EVENTUAL_DELAYS, REFUSAL_HOLD, Token
from wisp.entra.messages import Refused, Result, TokenKey, unavailable
from wisp.entra.tokens import MOST_WAITING, Clocks, TokenStore

REFUSED = Refused(401, "invalid_client", "AADSTS700016: ...", "refused", 700016)
EVENTUAL = Refused(401, "invalid_client", "AADSTS700213: ...", "refused", 700213)
DOWN = unavailable("down")
DAY = 86400
Outcome: TypeAlias = Token | Refused | None


@dataclass
class Bench:
    """A token store whose clock and exchanges the test controls."""

    clock: Clock = field(default_factory=Clock)
    entra: HeldExchange = field(default_factory=HeldExchange)
    outcomes: list[Outcome] = field(default_factory=list)
    most: int = 128
    refusal_hold: float = REFUSAL_HOLD

    def __post_init__(self) -> None:
        clocks = Clocks(self.clock, UnixClock(self.clock), lambda: 0.0)
        self.store = TokenStore(self.entra.begin, clocks, most=self.most, refusal_hold=self.refusal_hold)

    def ask(self, ask: TokenKey = ASK) -> Outcome:
        """Make a request: the cache first, then the store."""
        return self.store.fresh(ask) or self.store.request(ask, self.outcomes.append)

    def pass_time(self, seconds: float) -> None:
        """Advance the clock, and do what is due meanwhile."""
        end = self.clock.now + seconds
        while (due := self.store.due()) is not None and due <= end:
            self.clock.now = max(self.clock.now, due)
            self.store.tick()
        self.clock.now = end

    def hold(self, result: Result | None = None, ask: TokenKey = ASK) -> None:
        """Put a token or a refusal into the store."""
        self.ask(ask)
        self.entra.land(result or granted(expires_in=DAY))
        self.outcomes.clear()

    def revoke(self, value: str, ask: TokenKey = ASK) -> Outcome:
        """Make a request of a client whose token was rejected."""
        self.store.revoke(ask, Secret(value).sha256())
        return self.store.request(ask, self.outcomes.append)


@pytest.fixture
def bench() -> Bench:
    """Give an empty store."""
    return Bench()


def value(outcome: Outcome) -> str:
    """Return the token of an outcome."""
    assert isinstance(outcome, Token)
    return outcome.access_token.reveal()


def description(outcome: Outcome) -> str:
    """Return the description of an outcome's refusal."""
    assert isinstance(outcome, Refused)
    return outcome.description


def test_concurrent_requests_share_one_exchange(bench: Bench) -> None:
    assert [bench.ask() for _ in range(100)] == [None] * 100
    bench.entra.land(granted("one"))
    assert [value(outcome) for outcome in bench.outcomes] == ["one"] * 100
    assert bench.entra.asked == [ASK]


def test_each_key_has_its_own_exchange(bench: Bench) -> None:
    """Other resources and identities are other keys."""
    others = [TokenKey("a", "r"), TokenKey("b", "r"), TokenKey("a", "r/")]
    for ask in others * 2:
        bench.ask(ask)
    assert bench.entra.asked == others


def test_cached_token_is_served_without_an_exchange(bench: Bench) -> None:
    """Until its half-life."""
    bench.hold()
    for _ in range(100):
        bench.pass_time(400)
        assert isinstance(bench.ask(), Token)
    assert len(bench.entra.asked) == 1


def test_token_is_renewed_in_the_background(bench: Bench) -> None:
    """From half-life on, while the old token is served."""
    bench.hold(granted("old", DAY))
    bench.pass_time(DAY / 2 + 1)
    assert len(bench.entra.asked) == 2
    assert value(bench.ask()) == "old"
    bench.entra.land(granted("new", DAY))
    assert value(bench.ask()) == "new"


def test_request_near_expiry_waits_for_a_newer_token(bench: Bench) -> None:
    """A token with less than five minutes left is not served while Entra is available."""
    bench.hold(granted("old", DAY))
    bench.clock.now += DAY - 299
    assert bench.ask() is None
    bench.entra.land(granted("new", DAY))
    assert [value(outcome) for outcome in bench.outcomes] == ["new"]


def test_request_near_expiry_joins_the_running_renewal(bench: Bench) -> None:
    bench.hold()
    bench.pass_time(DAY - 299)
    assert bench.ask() is None
    assert len(bench.entra.calls) == 1


@pytest.mark.parametrize("fault", [DOWN, REFUSED, EVENTUAL], ids=["down", "refused", "refused for now"])
def test_valid_token_is_served_while_entra_fails(bench: Bench, fault: Refused) -> None:
    """To its last second, and no longer."""
    bench.hold(granted("old", DAY))
    bench.clock.now += DAY - 10
    assert bench.ask() is None
    while bench.entra.calls:
        bench.entra.land(fault)
        bench.pass_time(1.5)
    assert [value(outcome) for outcome in bench.outcomes] == ["old"]
    assert value(bench.ask()) == "old"
    bench.clock.now += 10
    assert not isinstance(bench.ask(), Token)


@pytest.mark.parametrize(
    "asks_after, renewals",
    [
        pytest.param([], 2, id="asked for once"),
        pytest.param([0.4], 2, id="once more before half-life"),
        pytest.param([0.6], 3, id="once more after it"),
        pytest.param([0.9, 1.8, 2.7], 7, id="again and again"),
    ],
)
def test_unused_token_is_not_renewed_indefinitely(bench: Bench, asks_after: list[float], renewals: int) -> None:
    """A token requested once is renewed twice, so that a client that comes once in its lifetime finds one."""
    bench.hold()
    moments = iter([*(1000.0 + DAY * part for part in asks_after), float("inf")])
    next_ask = next(moments)
    while bench.clock.now < 1000 + 10 * DAY:
        bench.pass_time(DAY / 100)
        if bench.clock.now >= next_ask:
            bench.ask()
            next_ask = next(moments)
        if bench.entra.calls:
            bench.entra.land(granted(expires_in=DAY))
    assert len(bench.entra.asked) == 1 + renewals
    assert bench.store.due() is None


def test_expiring_token_is_renewed_when_requested(bench: Bench) -> None:
    """It is still valid, so nobody waits."""
    bench.hold()
    for _ in range(2):
        bench.pass_time(DAY / 2)
        bench.entra.land(granted("last", DAY))
    bench.pass_time(DAY * 0.7)
    assert not bench.entra.calls
    assert value(bench.ask()) == "last"
    assert len(bench.entra.calls) == 1


def test_failing_renewal_backs_off(bench: Bench) -> None:
    """While the old token is valid, a broken federation causes few calls."""
    bench.hold()
    bench.pass_time(DAY / 2)
    for _ in range(6 * 3600):
        while bench.entra.calls:
            bench.entra.land(REFUSED)
        bench.pass_time(1)
        assert isinstance(bench.ask(), Token)
    assert len(bench.entra.asked) < 10 + 6 * 3600 / 150


def test_renewals_end_when_the_token_expires(bench: Bench) -> None:
    """After that only a request causes an exchange."""
    bench.hold()
    for _ in range(2000):
        bench.pass_time(60)
        if bench.entra.calls:
            bench.entra.land(REFUSED)
    asked = len(bench.entra.asked)
    bench.pass_time(10 * DAY)
    assert len(bench.entra.asked) == asked
    assert bench.store.due() is None


@pytest.mark.parametrize("fault, seconds", [(REFUSED, 4.5), (DOWN, 1.0)], ids=["refused", "down"])
def test_error_is_cached_for_a_few_seconds(bench: Bench, fault: Refused, seconds: float) -> None:
    """Then the first request causes another exchange."""
    bench.hold(fault)
    bench.clock.now += seconds - 0.1
    assert description(bench.ask()) == fault.description
    bench.clock.now += 0.2
    assert bench.ask() is None
    assert len(bench.entra.asked) == 2


def test_retry_after_of_entra_counts_down(bench: Bench) -> None:
    bench.hold(Refused(429, "too_many_requests", "slow down", "throttled", None, 30.0))
    bench.pass_time(10.5)
    refused = bench.ask()
    assert isinstance(refused, Refused)
    assert (refused.status, refused.retry_after) == (429, 19.5)
    bench.pass_time(19.4)
    assert bench.ask() is not None
    bench.pass_time(0.1)
    assert bench.ask() is None


def test_faults_back_off_and_success_resets_the_delay(bench: Bench) -> None:
    """During a long outage Entra is asked every 15 to 30 seconds."""
    for _ in range(2000):  # 2.0 ** 1024 is not a number any more
        bench.hold(DOWN)
        bench.clock.now += 30
    assert bench.ask() is None
    bench.entra.land(DOWN)
    bench.clock.now += 14.9
    assert isinstance(bench.ask(), Refused)
    bench.clock.now += 0.1
    bench.hold(granted(expires_in=10))
    bench.clock.now += 20
    bench.hold(DOWN)
    bench.clock.now += 2
    assert bench.ask() is None


def test_caching_of_refusals_can_be_disabled() -> None:
    """The next request after the federation is fixed gets a token. Faults still cause a back-off."""
    bench = Bench(refusal_hold=0.0)
    bench.hold(REFUSED)
    assert bench.ask() is None
    bench.entra.land(granted(expires_in=DAY))
    assert isinstance(bench.outcomes[-1], Token)
    bench = Bench(refusal_hold=0.0)
    bench.hold(DOWN)
    assert isinstance(bench.ask(), Refused)


def test_temporary_refusal_is_retried(bench: Bench) -> None:
    """A few times within a bounded wait, while the client waits."""
    assert bench.ask() is None
    for delay in EVENTUAL_DELAYS:
        bench.entra.land(EVENTUAL)
        bench.pass_time(delay - 0.01)
        assert not bench.entra.calls
        bench.pass_time(0.01)
        assert len(bench.entra.calls) == 1
        assert bench.outcomes == []
    bench.entra.land(EVENTUAL)
    assert bench.outcomes == [EVENTUAL]
    assert bench.clock.now - 1000 < 2.75


def test_refusal_that_passes_is_not_reported(bench: Bench) -> None:
    """The second try succeeds, and so does the request."""
    bench.ask()
    bench.entra.land(EVENTUAL)
    bench.pass_time(1)
    bench.entra.land(granted("one"))
    assert [value(outcome) for outcome in bench.outcomes] == ["one"]


def test_request_between_two_tries_waits_for_the_next(bench: Bench) -> None:
    bench.ask()
    bench.entra.land(EVENTUAL)
    assert bench.ask() is None
    assert not bench.entra.calls
    bench.pass_time(1)
    bench.entra.land(REFUSED)
    assert bench.outcomes == [REFUSED, REFUSED]


def test_repeated_refusal_is_reported_after_one_try(bench: Bench) -> None:
    """Only the first refusal is retried."""
    bench.ask()
    while bench.entra.calls:
        bench.entra.land(EVENTUAL)
        bench.pass_time(1.5)
    bench.pass_time(6)
    bench.outcomes.clear()
    bench.ask()
    bench.entra.land(EVENTUAL)
    assert bench.outcomes == [EVENTUAL]


def test_slow_refusals_are_not_retried_beyond_twelve_seconds(bench: Bench) -> None:
    """Even if the last try takes all of its nine seconds."""
    bench.ask()
    for _ in range(2):
        bench.clock.now += 1.3
        bench.entra.land(EVENTUAL)
        bench.pass_time(0.2)
    assert bench.outcomes == [EVENTUAL]
    assert len(bench.entra.asked) == 2


def test_invalid_lifetime_causes_at_most_one_exchange_per_second(bench: Bench) -> None:
    for _ in range(100):
        bench.clock.now += 0.1
        bench.ask()
        if bench.entra.calls:
            bench.entra.land(granted(expires_in=1))
    assert len(bench.entra.asked) <= 11


def test_number_of_keys_is_bounded() -> None:
    """The least recently used key is dropped."""
    bench = Bench(most=3)
    for name in "abc":
        bench.hold(ask=TokenKey(name, "r"))
        bench.pass_time(1)
    assert isinstance(bench.ask(TokenKey("a", "r")), Token)
    bench.hold(ask=TokenKey("d", "r"))
    assert len(bench.store) == 3
    assert isinstance(bench.ask(TokenKey("a", "r")), Token)
    assert bench.ask(TokenKey("b", "r")) is None


def test_refused_keys_are_dropped_before_tokens() -> None:
    """However old the tokens are."""
    bench = Bench(most=3)
    bench.hold(ask=TokenKey("good", "r"))
    for number in range(10):
        bench.pass_time(1)
        bench.hold(REFUSED, TokenKey("bad", str(number)))
    assert isinstance(bench.ask(TokenKey("good", "r")), Token)


def test_pending_keys_drop_at_most_half_of_the_tokens() -> None:
    """Requests for more and more resources do not displace the token in use while Entra does not answer."""
    bench = Bench(most=4)
    for name in "abcd":
        bench.hold(ask=TokenKey("good", name))
        bench.pass_time(1)
    outcomes = [bench.ask(TokenKey("waits", str(number))) for number in range(4)]
    assert outcomes[:2] == [None, None]
    assert all(isinstance(outcome, Refused) and outcome.status == 503 for outcome in outcomes[2:])
    assert isinstance(bench.ask(TokenKey("good", "c")), Token)
    assert isinstance(bench.ask(TokenKey("good", "d")), Token)


def test_pending_key_is_not_dropped() -> None:
    """If all keys are pending, a new one gets a refusal."""
    bench = Bench(most=3)
    for name in "abc":
        assert bench.ask(TokenKey(name, "r")) is None
    refused = bench.ask(TokenKey("d", "r"))
    assert isinstance(refused, Refused)
    assert refused.status == 503
    for _ in "abc":
        bench.entra.land(granted())
    assert len(bench.outcomes) == 3
    assert bench.ask(TokenKey("d", "r")) is None


def test_token_that_expired_during_a_clock_jump_is_not_served(bench: Bench) -> None:
    """For example after a night's suspend."""
    bench.hold(granted("old", DAY))
    bench.clock.now += 2 * DAY
    assert bench.ask() is None
    bench.store.tick()
    bench.entra.land(DOWN)
    assert [description(outcome) for outcome in bench.outcomes] == ["down"]


def test_callback_can_make_another_request(bench: Bench) -> None:
    again: list[Outcome] = []
    bench.store.request(ASK, lambda _: again.append(bench.ask()))
    bench.entra.land(granted("one"))
    assert [value(outcome) for outcome in again] == ["one"]


def test_earliest_expiry_of_all_tokens(bench: Bench) -> None:
    """None without a token."""
    assert bench.store.earliest_expiry() is None
    bench.hold(granted(expires_in=100))
    bench.hold(granted(expires_in=50), TokenKey("b", "r"))
    bench.hold(REFUSED, TokenKey("c", "r"))
    assert bench.store.earliest_expiry() == 1_790_000_050


CAPABLE = ASK._replace(capabilities="cp1")


def test_rejected_token_is_exchanged_once_for_all_requests(bench: Bench) -> None:
    """Clients that name its hash, that do not, and that name it after the new token came, all get the new token."""
    bench.hold(granted("old", DAY))
    bench.pass_time(60)
    assert [bench.revoke("old"), bench.revoke("old"), bench.ask()] == [None] * 3
    bench.entra.land(granted("new", DAY))
    assert [value(outcome) for outcome in bench.outcomes] == ["new"] * 3
    assert value(bench.revoke("old")) == "new"
    assert value(bench.ask()) == "new"
    assert len(bench.entra.asked) == 2


@pytest.mark.parametrize("digest", ["", "0" * 64, Secret("another").sha256(), Secret("old").sha256().upper()])
def test_unknown_hash_leaves_the_token(bench: Bench, digest: str) -> None:
    bench.hold(granted("old", DAY))
    assert not bench.store.revoke(ASK, digest)
    assert value(bench.ask()) == "old"
    assert len(bench.entra.asked) == 1


def test_hash_of_another_keys_token_leaves_both_tokens(bench: Bench) -> None:
    """This applies to other resources and identities."""
    others = [ASK._replace(resource="r"), ASK._replace(client_id="c")]
    for name, ask in zip("abc", [ASK, *others], strict=True):
        bench.hold(granted(name, DAY), ask)
    assert value(bench.revoke("b")) == "a"
    assert value(bench.revoke("c")) == "a"
    assert [value(bench.ask(ask)) for ask in others] == ["b", "c"]
    assert len(bench.entra.asked) == 3


def test_rejecting_a_token_rejects_that_of_other_capabilities(bench: Bench) -> None:
    """A client that sends its capabilities only with the challenge got its token without them."""
    bench.hold(granted("plain", DAY))
    assert bench.revoke("plain", CAPABLE) is None
    assert bench.entra.asked == [ASK, CAPABLE]
    bench.entra.land(granted("capable", DAY))
    assert bench.ask() is None
    bench.entra.land(granted("plain again", DAY))
    assert [value(outcome) for outcome in bench.outcomes] == ["capable", "plain again"]


@pytest.mark.parametrize("fault", [DOWN, REFUSED], ids=["down", "refused"])
def test_rejected_token_is_not_served_while_entra_fails(bench: Bench, fault: Refused) -> None:
    """Requests with and without the hash get the fault until there is a new token."""
    bench.hold(granted("old", DAY))
    bench.pass_time(60)
    assert bench.revoke("old") is None
    bench.entra.land(fault)
    assert [description(outcome) for outcome in bench.outcomes] == [fault.description]
    assert description(bench.ask()) == fault.description
    assert description(bench.revoke("old")) == fault.description
    bench.pass_time(10)
    assert bench.ask() is None
    bench.entra.land(granted("new", DAY))
    assert value(bench.outcomes[-1]) == "new"


def test_rejection_waits_for_the_back_off(bench: Bench) -> None:
    """Then Entra is asked."""
    bench.hold(granted("old", DAY))
    bench.pass_time(DAY / 2)
    bench.entra.land(Refused(429, "too_many_requests", "slow down", "throttled", None, 30.0))
    refused = bench.revoke("old")
    assert isinstance(refused, Refused)
    assert (refused.status, refused.retry_after) == (429, 30.0)
    bench.pass_time(30)
    assert bench.revoke("old") is None
    assert len(bench.entra.calls) == 1


def test_rejection_joins_the_running_renewal(bench: Bench) -> None:
    """Everyone waits for it, and its failure is reported."""
    bench.hold(granted("old", DAY))
    bench.pass_time(DAY / 2)
    assert [bench.revoke("old"), bench.ask()] == [None, None]
    assert len(bench.entra.calls) == 1
    bench.entra.land(DOWN)
    assert [description(outcome) for outcome in bench.outcomes] == ["down"] * 2


def test_several_rejections_cause_one_exchange_per_second(bench: Bench) -> None:
    """The first is exchanged immediately; clients wait for the next."""
    bench.hold(granted("0", DAY))
    assert bench.revoke("0") is None
    bench.entra.land(granted("1", DAY))
    assert [bench.revoke("1"), bench.ask()] == [None, None]
    bench.pass_time(0.99)
    assert not bench.entra.calls
    bench.pass_time(0.01)
    bench.entra.land(granted("2", DAY))
    assert [value(outcome) for outcome in bench.outcomes] == ["1", "2", "2"]
    assert len(bench.entra.asked) == 3


def test_renewal_follows_the_replacement_of_a_rejected_token(bench: Bench) -> None:
    """The background renewal uses the new token's times."""
    bench.hold(granted("old", DAY))
    bench.pass_time(60)
    bench.revoke("old")
    bench.entra.land(granted("new", DAY))
    bench.pass_time(DAY / 2 - 1)
    assert len(bench.entra.asked) == 2
    bench.pass_time(2)
    assert len(bench.entra.asked) == 3


def test_rejected_token_does_not_count_as_a_token(bench: Bench) -> None:
    """Its expiry is not reported, and its entry is dropped first."""
    bench.hold(granted("old", DAY))
    bench.store.revoke(ASK, Secret("old").sha256())
    assert bench.store.earliest_expiry() is None


NEWER = ASK._replace(newer=True)


def test_exchange_after_a_rejection_asks_for_a_newer_token_until_there_is_one(bench: Bench) -> None:
    """A gateway on the way may have the rejected token in its cache."""
    bench.hold(granted("old", DAY))
    bench.revoke("old")
    bench.entra.land(DOWN)
    bench.pass_time(10)
    bench.ask()
    bench.entra.land(granted("new", DAY))
    bench.pass_time(DAY / 2 + 1)
    assert bench.entra.asked == [ASK, NEWER, NEWER, ASK]


def test_exchange_for_a_client_that_wants_a_renewed_token_asks_for_a_newer_one(bench: Bench) -> None:
    bench.hold(granted("old", DAY))
    bench.pass_time(60)
    assert bench.store.request(ASK, bench.outcomes.append, renew=True) is None
    assert bench.entra.asked == [ASK, NEWER]


class TestWaiting:
    """The limit of waiting requests."""

    def test_at_most_512_requests_wait(self, bench: Bench) -> None:
        """The next one gets a Retry-After and is answered then; the waiting ones are answered by the exchange."""
        other = TokenKey("client", "https://other.example")
        assert [bench.ask(ask) for ask in (ASK, other) * (MOST_WAITING // 2)] == [None] * MOST_WAITING
        refused = bench.ask()
        assert isinstance(refused, Refused)
        assert (refused.status, refused.retry_after) == (503, 1.0)
        assert "512 requests" in refused.description
        bench.entra.land(granted("one"))
        assert len(bench.outcomes) == MOST_WAITING // 2
        assert value(bench.ask()) == "one"
        assert bench.ask(other) is None

    def test_valid_token_is_served_when_too_many_wait(self, bench: Bench) -> None:
        """A client that wants a newer token gets the cached one."""
        bench.hold(granted("one", expires_in=DAY))
        bench.pass_time(2)
        assert [bench.store.request(ASK, bench.outcomes.append, renew=True) for _ in range(MOST_WAITING)] == [
            None
        ] * MOST_WAITING
        assert value(bench.store.request(ASK, bench.outcomes.append, renew=True)) == "one"
