"""When a token is renewed, and how long a failing Entra is not asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import UNIX, granted
from wisp.entra.freshness import (
    EVENTUAL_CODES,
    EVENTUAL_DELAYS,
    EVENTUAL_WINDOW,
    MARGIN,
    Token,
    hold_off,
    patience,
    retry_delay,
    token_of,
)
from wisp.entra.messages import Refused, unavailable
from wisp.entra.process import DEADLINE

REFUSED = Refused(401, "invalid_client", "AADSTS700213: ...", "refused", 700213)
spreads = st.floats(0, 1, exclude_max=True)
lifetimes = st.integers(1, 10**6)


def token(expires_in: int, refresh_in: int | None = None, spread: float = 0.0) -> Token:
    """Return a token that arrives at second 0."""
    return token_of(granted(expires_in=expires_in, refresh_in=refresh_in), now=0.0, unix=UNIX, spread=spread)


@pytest.mark.parametrize(
    "expires_in, refresh_in, renew_at, spare_at",
    [
        pytest.param(86399, None, 43199.5, 86099.0, id="a day: half-life"),
        pytest.param(3600, None, 1800.0, 3300.0, id="an hour: half-life"),
        pytest.param(86399, 20000, 20000.0, 86099.0, id="sooner where Entra says so"),
        pytest.param(86399, 80000, 43199.5, 86099.0, id="not later, whatever Entra says"),
        pytest.param(86399, 1, 8639.9, 86099.0, id="not all the time, whatever Entra says"),
        pytest.param(86399, 0, 43199.5, 86099.0, id="refresh_in of nothing"),
        pytest.param(600, None, 300.0, 300.0, id="ten minutes"),
        pytest.param(599, None, 299.5, 479.2, id="too short for the margin: spare in its last fifth"),
        pytest.param(10, None, 5.0, 8.0, id="ten seconds"),
    ],
)
def test_renewal_at_half_life_and_spare_near_expiry(
    expires_in: int, refresh_in: int | None, renew_at: float, spare_at: float
) -> None:
    """The spare time is the last five minutes of a token."""
    got = token(expires_in, refresh_in)
    assert (got.renew_at, got.spare_at, got.expires_at) == pytest.approx((renew_at, spare_at, expires_in))
    assert got.expires_on == int(UNIX) + expires_in


@given(lifetimes, st.none() | lifetimes, spreads)
def test_token_times_are_in_order(expires_in: int, refresh_in: int | None, spread: float) -> None:
    """A token is renewed while it is valid, then spare, and finally expired."""
    got = token(expires_in, refresh_in, spread)
    assert 0 < got.renew_at <= got.spare_at < got.expires_at
    if expires_in >= 2 * MARGIN:
        assert got.expires_at - got.spare_at == MARGIN


@given(st.integers(7200, 10**6), spreads)
def test_renewal_is_due_at_half_life_and_at_most_a_tenth_earlier(expires_in: int, spread: float) -> None:
    assert 0.45 * expires_in <= token(expires_in, None, spread).renew_at <= 0.5 * expires_in


@pytest.mark.parametrize(
    "refused, failures, least, most",
    [
        pytest.param(REFUSED, 1, 4.5, 5.5, id="refused"),
        pytest.param(REFUSED, 9, 4.5, 5.5, id="refused again and again"),
        pytest.param(unavailable("x"), 1, 1.0, 2.0, id="down"),
        pytest.param(unavailable("x"), 2, 2.0, 4.0, id="down, again"),
        pytest.param(unavailable("x"), 5, 15.0, 30.0, id="down for long"),
        pytest.param(unavailable("x"), 100_000, 15.0, 30.0, id="down for weeks"),
        pytest.param(unavailable("x", retry_after=17), 1, 17.0, 17.0, id="Retry-After"),
        pytest.param(unavailable("x", retry_after=0), 1, 1.0, 1.0, id="Retry-After of nothing"),
        pytest.param(unavailable("x", retry_after=10**9), 1, 3600.0, 3600.0, id="Retry-After of years"),
    ],
)
@given(spreads)
def test_hold_off_after_each_kind_of_failure(
    refused: Refused, failures: int, least: float, most: float, spread: float
) -> None:
    """Refusals are cached for about five seconds, faults back off to half a minute, Retry-After is respected."""
    assert least <= hold_off(refused, failures=failures, spread=spread) <= most


@given(st.integers(1, 10**6), spreads)
def test_failed_renewals_back_off_to_five_minutes(failures: int, spread: float) -> None:
    assert min(300.0, 5.0 * 2 ** min(failures, 9)) / 2 <= patience(failures=failures, spread=spread) <= 300.0


@pytest.mark.parametrize("code", sorted(EVENTUAL_CODES))
def test_temporary_codes_are_retried_a_few_times(code: int) -> None:
    assert {70021, 70025, 700211, 700213} <= EVENTUAL_CODES
    refused = REFUSED._replace(aadsts=code)
    delays = [retry_delay(refused, known=None, tries=tries, since_first=0.0) for tries in range(1, 6)]
    assert delays == [*EVENTUAL_DELAYS, None, None]


@pytest.mark.parametrize("code", [None, 700016, 700212, 7002138, 700024, 70023, 700222, 500011, 7000272, 50027])
def test_permanent_codes_are_not_retried(code: int | None) -> None:
    assert retry_delay(REFUSED._replace(aadsts=code), known=None, tries=1, since_first=0.0) is None


def test_repeated_code_is_not_retried() -> None:
    """If the last exchange was refused with the same code, it does not pass by itself."""
    assert retry_delay(REFUSED, known=REFUSED, tries=1, since_first=0.0) is None
    assert retry_delay(REFUSED, known=unavailable("x"), tries=1, since_first=0.0) is not None


@given(st.integers(1, 5), st.floats(0, 100))
def test_last_try_starts_within_the_wait_limit(tries: int, since_first: float) -> None:
    """With the nine seconds that an exchange may take, nobody waits longer than twelve."""
    delay = retry_delay(REFUSED, known=None, tries=tries, since_first=since_first)
    assert delay is None or since_first + delay <= EVENTUAL_WINDOW
    assert EVENTUAL_WINDOW + DEADLINE <= 12.0
