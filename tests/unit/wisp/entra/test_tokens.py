"""The token store, moment by moment."""

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
    """A store with everything around it in the test's hands."""

    clock: Clock = field(default_factory=Clock)
    entra: HeldExchange = field(default_factory=HeldExchange)
    heard: list[Outcome] = field(default_factory=list)
    most: int = 128
    refusal_hold: float = REFUSAL_HOLD

    def __post_init__(self) -> None:
        clocks = Clocks(self.clock, UnixClock(self.clock), lambda: 0.0)
        self.store = TokenStore(self.entra.begin, clocks, most=self.most, refusal_hold=self.refusal_hold)

    def ask(self, ask: TokenKey = ASK) -> Outcome:
        """Ask as a request does: the warm path first."""
        return self.store.fresh(ask) or self.store.request(ask, self.heard.append)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, doing what falls due on the way when it does."""
        end = self.clock.now + seconds
        while (due := self.store.due()) is not None and due <= end:
            self.clock.now = max(self.clock.now, due)
            self.store.tick()
        self.clock.now = end

    def hold(self, result: Result | None = None, ask: TokenKey = ASK) -> None:
        """Get a token, or a refusal, into the store."""
        self.ask(ask)
        self.entra.land(result or granted(expires_in=DAY))
        self.heard.clear()

    def revoke(self, value: str, ask: TokenKey = ASK) -> Outcome:
        """Ask as a client does whose token was rejected."""
        self.store.revoke(ask, Secret(value).sha256())
        return self.store.request(ask, self.heard.append)


@pytest.fixture
def bench() -> Bench:
    """Give an empty store."""
    return Bench()


def value(outcome: Outcome) -> str:
    """Return what the outcome's token is."""
    assert isinstance(outcome, Token)
    return outcome.access_token.reveal()


def description(outcome: Outcome) -> str:
    """Return what the outcome's refusal says."""
    assert isinstance(outcome, Refused)
    return outcome.description


def test_one_exchange_however_many_wait(bench: Bench) -> None:
    """A hundred who ask at once are answered by one exchange, each of them."""
    assert [bench.ask() for _ in range(100)] == [None] * 100
    bench.entra.land(granted("one"))
    assert [value(outcome) for outcome in bench.heard] == ["one"] * 100
    assert bench.entra.asked == [ASK]


def test_one_exchange_a_key(bench: Bench) -> None:
    """Other resources and identities are other keys."""
    others = [TokenKey("a", "r"), TokenKey("b", "r"), TokenKey("a", "r/")]
    for ask in others * 2:
        bench.ask(ask)
    assert bench.entra.asked == others


def test_a_token_is_served_without_asking(bench: Bench) -> None:
    """Until half-life nothing is asked."""
    bench.hold()
    for _ in range(100):
        bench.pass_time(400)
        assert isinstance(bench.ask(), Token)
    assert len(bench.entra.asked) == 1


def test_renewal_in_the_background(bench: Bench) -> None:
    """From half-life a newer token is got while the old one is served."""
    bench.hold(granted("old", DAY))
    bench.pass_time(DAY / 2 + 1)
    assert len(bench.entra.asked) == 2
    assert value(bench.ask()) == "old"
    bench.entra.land(granted("new", DAY))
    assert value(bench.ask()) == "new"


def test_who_asks_late_waits_for_a_newer_token(bench: Bench) -> None:
    """Nothing with under five minutes left is handed out while Entra can be asked."""
    bench.hold(granted("old", DAY))
    bench.clock.now += DAY - 299
    assert bench.ask() is None
    bench.entra.land(granted("new", DAY))
    assert [value(outcome) for outcome in bench.heard] == ["new"]


def test_who_asks_late_joins_the_renewal_under_way(bench: Bench) -> None:
    """No second exchange is begun."""
    bench.hold()
    bench.pass_time(DAY - 299)
    assert bench.ask() is None
    assert len(bench.entra.calls) == 1


@pytest.mark.parametrize("fault", [DOWN, REFUSED, EVENTUAL], ids=["down", "refused", "refused for now"])
def test_a_valid_token_is_served_while_entra_fails(bench: Bench, fault: Refused) -> None:
    """To its last second, and no longer."""
    bench.hold(granted("old", DAY))
    bench.clock.now += DAY - 10
    assert bench.ask() is None
    while bench.entra.calls:
        bench.entra.land(fault)
        bench.pass_time(1.5)
    assert [value(outcome) for outcome in bench.heard] == ["old"]
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
def test_a_token_nobody_wants_runs_out(bench: Bench, asks_after: list[float], renewals: int) -> None:
    """Asked for once, it is renewed twice, so that who comes once in its life finds one; then it is left alone."""
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


def test_a_token_left_to_run_out_is_renewed_when_asked_for(bench: Bench) -> None:
    """It is still good, so nobody waits."""
    bench.hold()
    for _ in range(2):
        bench.pass_time(DAY / 2)
        bench.entra.land(granted("last", DAY))
    bench.pass_time(DAY * 0.7)
    assert not bench.entra.calls
    assert value(bench.ask()) == "last"
    assert len(bench.entra.calls) == 1


def test_a_failing_renewal_backs_off(bench: Bench) -> None:
    """While the old token is good, Entra is asked ever more seldom: a broken federation costs it little."""
    bench.hold()
    bench.pass_time(DAY / 2)
    for _ in range(6 * 3600):
        while bench.entra.calls:
            bench.entra.land(REFUSED)
        bench.pass_time(1)
        assert isinstance(bench.ask(), Token)
    assert len(bench.entra.asked) < 10 + 6 * 3600 / 150


def test_renewals_end_with_the_token(bench: Bench) -> None:
    """Once it has run out, only somebody who asks makes Entra be asked."""
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
def test_errors_are_remembered(bench: Bench, fault: Refused, seconds: float) -> None:
    """For a few seconds nobody makes Entra be asked again; then the first who asks does."""
    bench.hold(fault)
    bench.clock.now += seconds - 0.1
    assert description(bench.ask()) == fault.description
    bench.clock.now += 0.2
    assert bench.ask() is None
    assert len(bench.entra.asked) == 2


def test_retry_after_is_kept_and_counts_down(bench: Bench) -> None:
    """Entra's own time to wait is handed on, less what has passed of it."""
    bench.hold(Refused(429, "too_many_requests", "slow down", "throttled", None, 30.0))
    bench.pass_time(10.5)
    refused = bench.ask()
    assert isinstance(refused, Refused)
    assert (refused.status, refused.retry_after) == (429, 19.5)
    bench.pass_time(19.4)
    assert bench.ask() is not None
    bench.pass_time(0.1)
    assert bench.ask() is None


def test_faults_back_off(bench: Bench) -> None:
    """Down for long, Entra is asked every quarter of a minute to every half; once it is up that is forgotten."""
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


def test_a_refusal_need_not_be_remembered() -> None:
    """With no hold, the request after the federation is fixed gets a token. Faults still make it back off."""
    bench = Bench(refusal_hold=0.0)
    bench.hold(REFUSED)
    assert bench.ask() is None
    bench.entra.land(granted(expires_in=DAY))
    assert isinstance(bench.heard[-1], Token)
    bench = Bench(refusal_hold=0.0)
    bench.hold(DOWN)
    assert isinstance(bench.ask(), Refused)


def test_a_refusal_that_may_pass_is_tried_again(bench: Bench) -> None:
    """A few times within a bounded wait, while the client waits."""
    assert bench.ask() is None
    for delay in EVENTUAL_DELAYS:
        bench.entra.land(EVENTUAL)
        bench.pass_time(delay - 0.01)
        assert not bench.entra.calls
        bench.pass_time(0.01)
        assert len(bench.entra.calls) == 1
        assert bench.heard == []
    bench.entra.land(EVENTUAL)
    assert bench.heard == [EVENTUAL]
    assert bench.clock.now - 1000 < 2.75


def test_a_refusal_that_passes_is_never_heard(bench: Bench) -> None:
    """The second try succeeds: so does the request."""
    bench.ask()
    bench.entra.land(EVENTUAL)
    bench.pass_time(1)
    bench.entra.land(granted("one"))
    assert [value(outcome) for outcome in bench.heard] == ["one"]


def test_who_asks_between_two_tries_waits_with_the_others(bench: Bench) -> None:
    """A try that is still to come is a flight under way."""
    bench.ask()
    bench.entra.land(EVENTUAL)
    assert bench.ask() is None
    assert not bench.entra.calls
    bench.pass_time(1)
    bench.entra.land(REFUSED)
    assert bench.heard == [REFUSED, REFUSED]


def test_a_federation_known_to_be_broken_costs_one_try_at_a_time(bench: Bench) -> None:
    """After the first few tries each further one is heard at once."""
    bench.ask()
    while bench.entra.calls:
        bench.entra.land(EVENTUAL)
        bench.pass_time(1.5)
    bench.pass_time(6)
    bench.heard.clear()
    bench.ask()
    bench.entra.land(EVENTUAL)
    assert bench.heard == [EVENTUAL]


def test_slow_refusals_are_not_tried_again_for_long(bench: Bench) -> None:
    """Nobody waits over twelve seconds, even if the last try takes all of its nine."""
    bench.ask()
    for _ in range(2):
        bench.clock.now += 1.3
        bench.entra.land(EVENTUAL)
        bench.pass_time(0.2)
    assert bench.heard == [EVENTUAL]
    assert len(bench.entra.asked) == 2


def test_an_odd_lifetime_costs_one_exchange_a_second(bench: Bench) -> None:
    """Whatever Entra says, it is not asked all the time."""
    for _ in range(100):
        bench.clock.now += 0.1
        bench.ask()
        if bench.entra.calls:
            bench.entra.land(granted(expires_in=1))
    assert len(bench.entra.asked) <= 11


def test_the_store_is_bounded() -> None:
    """The key asked for longest ago makes room."""
    bench = Bench(most=3)
    for name in "abc":
        bench.hold(ask=TokenKey(name, "r"))
        bench.pass_time(1)
    assert isinstance(bench.ask(TokenKey("a", "r")), Token)
    bench.hold(ask=TokenKey("d", "r"))
    assert len(bench.store) == 3
    assert isinstance(bench.ask(TokenKey("a", "r")), Token)
    assert bench.ask(TokenKey("b", "r")) is None


def test_nonsense_drops_no_token() -> None:
    """Keys that Entra refuses make room before keys with a token do, however old those are."""
    bench = Bench(most=3)
    bench.hold(ask=TokenKey("good", "r"))
    for number in range(10):
        bench.pass_time(1)
        bench.hold(REFUSED, TokenKey("bad", str(number)))
    assert isinstance(bench.ask(TokenKey("good", "r")), Token)


def test_keys_that_wait_for_entra_drop_half_of_the_tokens_at_most() -> None:
    """While Entra does not answer, requests for more and more resources do not displace the token in use."""
    bench = Bench(most=4)
    for name in "abcd":
        bench.hold(ask=TokenKey("good", name))
        bench.pass_time(1)
    outcomes = [bench.ask(TokenKey("waits", str(number))) for number in range(4)]
    assert outcomes[:2] == [None, None]
    assert all(isinstance(outcome, Refused) and outcome.status == 503 for outcome in outcomes[2:])
    assert isinstance(bench.ask(TokenKey("good", "c")), Token)
    assert isinstance(bench.ask(TokenKey("good", "d")), Token)


def test_a_key_in_flight_is_not_dropped() -> None:
    """Clients that wait get an answer; if all keys are being exchanged, a new one gets a refusal."""
    bench = Bench(most=3)
    for name in "abc":
        assert bench.ask(TokenKey(name, "r")) is None
    refused = bench.ask(TokenKey("d", "r"))
    assert isinstance(refused, Refused)
    assert refused.status == 503
    for _ in "abc":
        bench.entra.land(granted())
    assert len(bench.heard) == 3
    assert bench.ask(TokenKey("d", "r")) is None


def test_a_leap_of_the_clock(bench: Bench) -> None:
    """After a night's sleep the token has run out, and is not served."""
    bench.hold(granted("old", DAY))
    bench.clock.now += 2 * DAY
    assert bench.ask() is None
    bench.store.tick()
    bench.entra.land(DOWN)
    assert [description(outcome) for outcome in bench.heard] == ["down"]


def test_a_waiter_may_ask_again(bench: Bench) -> None:
    """Who is answered can have its next request with us already."""
    again: list[Outcome] = []
    bench.store.request(ASK, lambda _: again.append(bench.ask()))
    bench.entra.land(granted("one"))
    assert [value(outcome) for outcome in again] == ["one"]


def test_the_earliest_expiry(bench: Bench) -> None:
    """It is the token's that ends first; None without a token."""
    assert bench.store.earliest_expiry() is None
    bench.hold(granted(expires_in=100))
    bench.hold(granted(expires_in=50), TokenKey("b", "r"))
    bench.hold(REFUSED, TokenKey("c", "r"))
    assert bench.store.earliest_expiry() == 1_790_000_050


CAPABLE = ASK._replace(capabilities="cp1")


def test_a_rejected_token_is_exchanged_once_however_many_ask(bench: Bench) -> None:
    """Who names it, who does not, and who names it after the new one came all get the new one."""
    bench.hold(granted("old", DAY))
    bench.pass_time(60)
    assert [bench.revoke("old"), bench.revoke("old"), bench.ask()] == [None] * 3
    bench.entra.land(granted("new", DAY))
    assert [value(outcome) for outcome in bench.heard] == ["new"] * 3
    assert value(bench.revoke("old")) == "new"
    assert value(bench.ask()) == "new"
    assert len(bench.entra.asked) == 2


@pytest.mark.parametrize("digest", ["", "0" * 64, Secret("another").sha256(), Secret("old").sha256().upper()])
def test_any_other_hash_changes_nothing(bench: Bench, digest: str) -> None:
    """The token stays."""
    bench.hold(granted("old", DAY))
    assert not bench.store.revoke(ASK, digest)
    assert value(bench.ask()) == "old"
    assert len(bench.entra.asked) == 1


def test_the_hash_of_another_resources_token_changes_nothing(bench: Bench) -> None:
    """Neither here nor there; nor does another identity's."""
    others = [ASK._replace(resource="r"), ASK._replace(client_id="c")]
    for name, ask in zip("abc", [ASK, *others], strict=True):
        bench.hold(granted(name, DAY), ask)
    assert value(bench.revoke("b")) == "a"
    assert value(bench.revoke("c")) == "a"
    assert [value(bench.ask(ask)) for ask in others] == ["b", "c"]
    assert len(bench.entra.asked) == 3


def test_a_token_of_other_capabilities_is_rejected_too(bench: Bench) -> None:
    """A client that names its capabilities only with the challenge got its token without: nobody gets that again."""
    bench.hold(granted("plain", DAY))
    assert bench.revoke("plain", CAPABLE) is None
    assert bench.entra.asked == [ASK, CAPABLE]
    bench.entra.land(granted("capable", DAY))
    assert bench.ask() is None
    bench.entra.land(granted("plain again", DAY))
    assert [value(outcome) for outcome in bench.heard] == ["capable", "plain again"]


@pytest.mark.parametrize("fault", [DOWN, REFUSED], ids=["down", "refused"])
def test_a_rejected_token_is_not_served_stale(bench: Bench, fault: Refused) -> None:
    """Who asks hears the fault, with or without the hash, until there is a new one."""
    bench.hold(granted("old", DAY))
    bench.pass_time(60)
    assert bench.revoke("old") is None
    bench.entra.land(fault)
    assert [description(outcome) for outcome in bench.heard] == [fault.description]
    assert description(bench.ask()) == fault.description
    assert description(bench.revoke("old")) == fault.description
    bench.pass_time(10)
    assert bench.ask() is None
    bench.entra.land(granted("new", DAY))
    assert value(bench.heard[-1]) == "new"


def test_a_token_rejected_while_renewals_fail(bench: Bench) -> None:
    """The time that Entra is left alone is kept; then it is asked."""
    bench.hold(granted("old", DAY))
    bench.pass_time(DAY / 2)
    bench.entra.land(Refused(429, "too_many_requests", "slow down", "throttled", None, 30.0))
    refused = bench.revoke("old")
    assert isinstance(refused, Refused)
    assert (refused.status, refused.retry_after) == (429, 30.0)
    bench.pass_time(30)
    assert bench.revoke("old") is None
    assert len(bench.entra.calls) == 1


def test_a_token_rejected_during_its_renewal(bench: Bench) -> None:
    """The exchange under way is the one that is waited for, by everybody; its failure is heard."""
    bench.hold(granted("old", DAY))
    bench.pass_time(DAY / 2)
    assert [bench.revoke("old"), bench.ask()] == [None, None]
    assert len(bench.entra.calls) == 1
    bench.entra.land(DOWN)
    assert [description(outcome) for outcome in bench.heard] == ["down"] * 2


def test_a_token_rejected_within_its_first_second(bench: Bench) -> None:
    """It is exchanged at once; of several that are rejected in a row one is a second, and the clients wait for it."""
    bench.hold(granted("0", DAY))
    assert bench.revoke("0") is None
    bench.entra.land(granted("1", DAY))
    assert [bench.revoke("1"), bench.ask()] == [None, None]
    bench.pass_time(0.99)
    assert not bench.entra.calls
    bench.pass_time(0.01)
    bench.entra.land(granted("2", DAY))
    assert [value(outcome) for outcome in bench.heard] == ["1", "2", "2"]
    assert len(bench.entra.asked) == 3


def test_a_rejected_token_is_not_renewed_but_its_successor_is(bench: Bench) -> None:
    """The background renewal goes on with the new token's own times."""
    bench.hold(granted("old", DAY))
    bench.pass_time(60)
    bench.revoke("old")
    bench.entra.land(granted("new", DAY))
    bench.pass_time(DAY / 2 - 1)
    assert len(bench.entra.asked) == 2
    bench.pass_time(2)
    assert len(bench.entra.asked) == 3


def test_a_rejected_token_does_not_count_as_one(bench: Bench) -> None:
    """Its expiry is not reported, and its entry makes room first."""
    bench.hold(granted("old", DAY))
    bench.store.revoke(ASK, Secret("old").sha256())
    assert bench.store.earliest_expiry() is None


class TestWaiting:
    """How many requests may wait."""

    def test_no_more_than_512_wait(self, bench: Bench) -> None:
        """The next gets the time to ask again, and is answered then; those who waited are answered by the exchange."""
        other = TokenKey("client", "https://other.example")
        assert [bench.ask(ask) for ask in (ASK, other) * (MOST_WAITING // 2)] == [None] * MOST_WAITING
        refused = bench.ask()
        assert isinstance(refused, Refused)
        assert (refused.status, refused.retry_after) == (503, 1.0)
        assert "512 requests" in refused.description
        bench.entra.land(granted("one"))
        assert len(bench.heard) == MOST_WAITING // 2
        assert value(bench.ask()) == "one"
        assert bench.ask(other) is None

    def test_a_valid_token_is_given_to_those_who_cannot_wait(self, bench: Bench) -> None:
        """A client that wants a newer token gets the one that there is."""
        bench.hold(granted("one", expires_in=DAY))
        bench.pass_time(2)
        assert [bench.store.request(ASK, bench.heard.append, renew=True) for _ in range(MOST_WAITING)] == [
            None
        ] * MOST_WAITING
        assert value(bench.store.request(ASK, bench.heard.append, renew=True)) == "one"
