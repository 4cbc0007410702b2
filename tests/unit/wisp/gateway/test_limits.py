"""Limits of callers: requests in a second, and at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.gateway.limits import CallerLimits
from wisp.gateway.types import TokenRefusal

MOST_CALLERS = 16_384


def spent(limits: CallerLimits, caller: str, times: int, *, now: float) -> list[bool]:
    """Return which of so many requests are let through."""
    return [limits.spend(caller, now) is None for _ in range(times)]


def test_quiet_caller_may_send_twice_its_rate_at_once() -> None:
    """And afterwards its rate."""
    limits = CallerLimits(rate=20, in_flight=0, total=0)
    assert spent(limits, "a", 50, now=100.0) == [True] * 40 + [False] * 10
    assert spent(limits, "a", 3, now=100.05) == [True, False, False]
    assert spent(limits, "a", 50, now=101.05) == [True] * 20 + [False] * 30
    assert spent(limits, "a", 50, now=1_000.0) == [True] * 40 + [False] * 10


def test_callers_do_not_share_a_rate() -> None:
    limits = CallerLimits(rate=1, in_flight=0, total=0)
    assert spent(limits, "a", 3, now=0.0) == [True, True, False]
    assert spent(limits, "b", 3, now=0.0) == [True, True, False]


def test_refusal_says_when_a_request_is_possible() -> None:
    """A caller that waits so long is let through."""
    limits = CallerLimits(rate=0.5, in_flight=0, total=0)
    assert limits.spend("a", 10.0) is None
    refusal = limits.spend("a", 10.5)
    assert refusal == TokenRefusal(
        "throttled",
        429,
        "too_many_requests",
        "wisp gateway: more than 0.5 token requests per second; cache tokens until they expire",
        retry_after=1.5,
    )
    assert limits.spend("a", 12.0) is None


def test_refused_requests_cost_nothing() -> None:
    """A caller that keeps asking gets its rate all the same."""
    limits = CallerLimits(rate=10, in_flight=0, total=0)
    allowed = sum(spent(limits, "a", 1_000, now=0.0))
    allowed += sum(limits.spend("a", second / 100) is None for second in range(1, 1_000))
    assert allowed == 20 + 99


def test_check_costs_nothing() -> None:
    """It says what `spend` would."""
    limits = CallerLimits(rate=1, in_flight=0, total=0)
    assert [limits.check("a", 0.0) for _ in range(5)] == [None] * 5
    assert len(limits) == 0
    assert spent(limits, "a", 3, now=0.0) == [True, True, False]
    assert limits.check("a", 0.5) == limits.spend("a", 0.5) is not None


def test_zero_turns_a_limit_off() -> None:
    limits = CallerLimits(rate=0, in_flight=0, total=0)
    assert [limits.begin("10.0.0.1") for _ in range(2_000)] == [None] * 2_000
    assert [limits.admit("a", 0.0) for _ in range(2_000)] == [None] * 2_000
    assert len(limits) == 0


def test_requests_at_once_are_limited_for_each_caller() -> None:
    limits = CallerLimits(rate=0, in_flight=2, total=0)
    assert [limits.admit(caller, 0.0) for caller in "aabb"] == [None] * 4
    refusal = limits.admit("a", 0.0)
    assert refusal is not None
    assert (refusal.outcome, refusal.status, refusal.retry_after) == ("throttled", 429, 1.0)
    assert refusal.description == "wisp gateway: 2 token requests of this caller are being answered already"
    limits.leave("a")
    assert limits.admit("a", 0.0) is None
    assert limits.admit("a", 0.0) is not None


def test_request_that_is_refused_for_being_one_too_many_is_not_in_the_rate() -> None:
    limits = CallerLimits(rate=1, in_flight=1, total=0)
    assert limits.admit("a", 0.0) is None
    assert limits.admit("a", 0.0) is not None
    limits.leave("a")
    assert limits.admit("a", 0.0) is None


def test_request_that_is_too_fast_is_not_in_flight() -> None:
    limits = CallerLimits(rate=1, in_flight=3, total=0)
    assert [limits.admit("a", 0.0) is None for _ in range(4)] == [True, True, False, False]
    limits.leave("a")
    limits.leave("a")
    assert [limits.admit("a", 1_000.0) is None for _ in range(2)] == [True, True]


def begun(limits: CallerLimits, source: str, times: int) -> int:
    """Return how many of so many requests from an address are let through."""
    return sum(limits.begin(source) is None for _ in range(times))


def test_requests_at_once_are_limited_in_total() -> None:
    """Room that becomes free can be taken."""
    limits = CallerLimits(rate=0, in_flight=0, total=100)
    assert sum(begun(limits, f"10.0.0.{number}", 1) for number in range(150)) == 100
    refusal = limits.begin("10.0.1.1")
    assert refusal is not None
    assert (refusal.outcome, refusal.status, refusal.retry_after) == ("throttled", 429, 1.0)
    limits.end("10.0.0.1")
    assert begun(limits, "10.0.1.1", 2) == 1


def test_addresses_leave_room_to_others() -> None:
    """Even if several send more than can be answered, a newcomer finds room."""
    limits = CallerLimits(rate=0, in_flight=0, total=120)
    assert begun(limits, "a", 1_000) == 60
    assert begun(limits, "b", 1_000) == 30
    assert begun(limits, "c", 1_000) == 15
    assert begun(limits, "newcomer", 8) == 8
    for _ in range(60):
        limits.end("a")
    assert begun(limits, "newcomer", 1_000) == 30


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=300))
def test_greedy_addresses_never_take_all_the_room(steps: list[tuple[str, bool]]) -> None:
    """Whatever order they begin and end in."""
    limits, counts = CallerLimits(rate=0, in_flight=0, total=30), dict.fromkeys("abcde", 0)
    for source, ends in steps:
        if ends and counts[source]:
            limits.end(source)
            counts[source] -= 1
        else:
            counts[source] += begun(limits, source, 1)
        assert sum(counts.values()) < 30
    assert begun(limits, "newcomer", 1) == 1


def test_callers_with_a_full_bucket_are_forgotten() -> None:
    """So that memory is for those that are active."""
    limits = CallerLimits(rate=20, in_flight=0, total=0)
    for number in range(10_000):
        limits.spend(f"caller-{number}", number / 1_000)
    assert len(limits) <= 60


def test_number_of_callers_is_bounded() -> None:
    """The one that asked longest ago is forgotten: it may have had its burst, and no more."""
    limits = CallerLimits(rate=20, in_flight=0, total=0)
    assert spent(limits, "first", 41, now=0.0)[-1] is False
    assert spent(limits, "second", 41, now=0.0)[-1] is False
    for number in range(MOST_CALLERS - 1):
        limits.spend(f"caller-{number}", 0.0)
    assert len(limits) == MOST_CALLERS
    assert limits.spend("second", 0.0) is not None
    assert limits.spend("first", 0.0) is None
    assert len(limits) == MOST_CALLERS


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3, allow_subnormal=False)), max_size=200),
    st.sampled_from([0.5, 3.0, 20.0, 1_000.0]),
)
def test_no_caller_exceeds_its_rate_for_long(steps: list[tuple[str, float]], rate: float) -> None:
    """In any time, it gets its rate and a burst of two seconds more; a refused one waits no longer than it has to."""
    limits = CallerLimits(rate=rate, in_flight=0, total=0)
    now, times = 0.0, dict[str, list[float]](a=[], b=[], c=[])
    for caller, pause in steps:
        now += pause
        refusal = limits.spend(caller, now)
        if refusal is None:
            times[caller].append(now)
        else:
            assert refusal.retry_after is not None
            assert 0 < refusal.retry_after <= 1 / rate + 1e-6
    for found in times.values():
        for first, start in enumerate(found):
            for last, end in enumerate(found[first:]):
                assert last + 1 <= (end - start + 2) * rate + 1 + 1e-6


@pytest.mark.parametrize("rate, burst", [(0.1, 1), (0.5, 1), (1.0, 2), (1.4, 2), (20.0, 40)])
def test_burst_is_of_whole_requests(rate: float, burst: int) -> None:
    """One at least."""
    limits = CallerLimits(rate=rate, in_flight=0, total=0)
    assert sum(spent(limits, "a", 100, now=0.0)) == burst
