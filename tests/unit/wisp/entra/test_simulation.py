"""Simulated days of the token store: clients come and go, and Entra has good and bad hours."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fakes import CLIENT_ID, Clock, UnixClock, granted
from tests.support.timeline import Timeline
from wisp.entra.freshness import MARGIN, Token
from wisp.entra.messages import Refused, Result, TokenKey, unavailable
from wisp.entra.process import DEADLINE
from wisp.entra.tokens import Clocks, TokenStore

EVENTUAL = Refused(401, "invalid_client", "AADSTS700213: ...", "refused", 700213)
CONDITIONS: dict[str, tuple[Result | None, float]] = {
    "up": (None, 0.03),
    "slow": (None, 3.0),
    "down": (unavailable("refused"), 0.001),
    "hanging": (unavailable("no answer"), DEADLINE),
    "throttling": (Refused(429, "too_many_requests", "slow down", "throttled", None, 17.0), 0.03),
    "refusing": (EVENTUAL, 0.03),
}
"""What Entra answers in a condition, and after how many seconds."""

SETTLED = 40.0
"""Seconds without faults after which every hold-off is over: the longest is 30, and one try may be under way."""

GRACE = 12.0
"""Seconds that the last clients are given to be answered: what anybody waits at most."""


class Phase(NamedTuple):
    """A condition and its duration in seconds."""

    condition: str
    seconds: float


@dataclass
class World:
    """The store, a simulated Entra, clients, and their experience."""

    seed: int
    lifetime: int
    flaky: float = 0.0
    clock: Clock = field(default_factory=lambda: Clock(0.0))
    condition: str = "up"
    mood_since: float = 0.0
    flying: dict[TokenKey, int] = field(default_factory=dict)
    calls: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    outcomes: list[Token | Refused] = field(default_factory=list)
    unanswered: int = 0

    def __post_init__(self) -> None:
        self._timeline = Timeline(self.clock)
        self.random = Random(self.seed)  # noqa: S311 -- chance, not secrets
        clocks = Clocks(self.clock, UnixClock(self.clock), self.random.random)
        self.store = TokenStore(self.begin, clocks, most=4)

    def at(self, moment: float, event: Callable[[], None]) -> None:
        """Schedule an action."""
        self._timeline.at(moment, event)

    def run(self, end: float) -> None:
        """Run every action that is due until then."""
        self._timeline.run(end, self.store)

    def set_condition(self, condition: str) -> None:
        """Change Entra's condition."""
        if (condition in ("up", "slow")) != (self.condition in ("up", "slow")):
            self.mood_since = self.clock.now
        self.condition = condition

    def begin(self, ask: TokenKey, done: Callable[[Result], None]) -> None:
        """Start an exchange, as the exchange process does."""
        assert self.flying.get(ask, 0) == 0, "two exchanges of one key at once"
        self.flying[ask] = 1
        self.calls.append(self.clock.now)
        result, seconds = CONDITIONS[self.condition]
        if result is None:
            result = EVENTUAL if self.random.random() < self.flaky else granted(expires_in=self.lifetime)
        self.at(self.clock.now + seconds, lambda: self._land(ask, done, result))

    def _land(self, ask: TokenKey, done: Callable[[Result], None], result: Result) -> None:
        self.flying[ask] = 0
        done(result)

    def come(self, ask: TokenKey) -> None:
        """Make one request as a client."""
        begun = self.clock.now
        self.unanswered += 1
        outcome = self.store.fresh(ask) or self.store.request(ask, lambda outcome: self._hear(begun, outcome))
        if outcome is not None:
            self._hear(begun, outcome)

    def _hear(self, begun: float, outcome: Token | Refused) -> None:
        self.unanswered -= 1
        self.waits.append(self.clock.now - begun)
        self.outcomes.append(outcome)
        if isinstance(outcome, Token):
            left = outcome.expires_at - self.clock.now
            assert left > 0, "an expired token was handed out"
            settled = self.condition == "up" and self.clock.now - self.mood_since > SETTLED
            if settled and self.lifetime >= 2 * MARGIN:
                assert left > MARGIN or begun < self.mood_since + SETTLED, f"a token with {left} s left was handed out"


def live(world: World, phases: list[Phase], *, keys: int, gap: float) -> float:
    """Let clients use `keys` every `gap` seconds or so through the phases; return when it ended."""
    asks = [TokenKey(CLIENT_ID, f"https://{number}/") for number in range(keys)]
    end = 0.0
    for phase in phases:
        world.at(end, lambda condition=phase.condition: world.set_condition(condition))  # type: ignore[misc]
        end += phase.seconds
    for ask in asks:
        moment = 0.0
        while (moment := moment + world.random.uniform(0, 2 * gap)) < end:
            world.at(moment, lambda ask=ask: world.come(ask))  # type: ignore[misc]
    world.run(end + GRACE)
    return end


phases = st.lists(
    st.builds(Phase, st.sampled_from(sorted(CONDITIONS)), st.sampled_from([5.0, 60.0, 600.0, 3000.0])),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), phases, st.sampled_from([100, 700, 3600, 86399]), st.sampled_from([5, 90, 900]))
def test_clients_are_answered_in_time_whatever_entra_does(
    seed: int, script: list[Phase], lifetime: int, gap: float
) -> None:
    """Everybody is answered within twelve seconds, never with an expired token, by one exchange per key at a time."""
    world = World(seed, lifetime)
    live(world, script, keys=2, gap=gap)
    assert world.unanswered == 0
    assert max(world.waits, default=0.0) <= GRACE


@pytest.mark.parametrize("lifetime", [3600, 86399])
def test_load_on_a_good_day_causes_no_failures(lifetime: int) -> None:
    """Hardly a request waits, and no token has less than five minutes left, though 2% of exchanges fail."""
    world = World(7, lifetime, flaky=0.02)
    end = live(world, [Phase("up", 48 * 3600.0)], keys=3, gap=60.0)
    assert all(isinstance(outcome, Token) for outcome in world.outcomes)
    assert sum(wait > 0 for wait in world.waits) <= 6
    assert len(world.calls) <= 3 * 1.2 * (end / (0.45 * lifetime) + 1)


def test_rare_requests_get_tokens_with_five_minutes_left() -> None:
    """A request may have to wait a moment for it."""
    world = World(7, 3600)
    live(world, [Phase("up", 60 * 86400.0)], keys=3, gap=5000.0)
    assert all(isinstance(outcome, Token) for outcome in world.outcomes)
    assert 0 < sum(wait > 0 for wait in world.waits) < len(world.waits) / 2


def test_outage_of_hours_is_not_noticed() -> None:
    """Tokens of a day outlive it: nobody fails or waits, and Entra gets a call every few minutes per key."""
    world = World(7, 86399)
    outage = Phase("down", 6 * 3600.0)
    live(world, [Phase("up", 11 * 3600.0), outage, Phase("up", 3600.0)], keys=2, gap=20.0)
    assert all(isinstance(outcome, Token) for outcome in world.outcomes)
    during = [moment for moment in world.calls if 11 * 3600 <= moment < 17 * 3600]
    assert len(during) < 2 * (outage.seconds / 150 + 12)


@pytest.mark.parametrize("condition, longest", [("down", 1.0), ("hanging", DEADLINE), ("refusing", 2.75)])
def test_load_on_a_broken_authority_causes_few_calls(condition: str, longest: float) -> None:
    """Clients that come twenty times a second cause a few calls a minute; recovery takes at most half a minute."""
    world = World(7, 3600)
    live(world, [Phase(condition, 600.0), Phase("up", 60.0)], keys=1, gap=0.05)
    calls = [moment for moment in world.calls if moment < 600]
    assert len(calls) <= (140 if condition == "refusing" else 50)
    assert max(world.waits) <= longest + 0.001
    assert isinstance(world.outcomes[-1], Token)
    recovered = next(moment for moment in world.calls if moment >= 600)
    assert recovered - 600 <= 31


@pytest.mark.parametrize("condition", ["down", "hanging", "throttling", "refusing"])
def test_a_hundred_concurrent_clients_cause_as_many_calls_as_one(condition: str) -> None:
    """On a broken authority, too."""
    calls = []
    for clients in (1, 100):
        world = World(7, 3600, condition=condition)
        for _ in range(clients):
            world.at(1.0, lambda world=world: world.come(TokenKey(CLIENT_ID, "r")))  # type: ignore[misc]
        world.run(20.0)
        assert (world.unanswered, len(world.outcomes)) == (0, clients)
        calls.append(len(world.calls))
    assert calls[0] == calls[1]
