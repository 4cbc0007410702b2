"""How good a token still is, and how long a failing Entra is left alone."""

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
    """Return the token that arrives at second 0."""
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
def test_the_times_of_a_token(expires_in: int, refresh_in: int | None, renew_at: float, spare_at: float) -> None:
    """It is renewed at half-life and spare five minutes before its end."""
    got = token(expires_in, refresh_in)
    assert (got.renew_at, got.spare_at, got.expires_at) == pytest.approx((renew_at, spare_at, expires_in))
    assert got.expires_on == int(UNIX) + expires_in


@given(lifetimes, st.none() | lifetimes, spreads)
def test_the_times_are_in_order(expires_in: int, refresh_in: int | None, spread: float) -> None:
    """A token is renewed while it is still good, spare after that, and at last expired."""
    got = token(expires_in, refresh_in, spread)
    assert 0 < got.renew_at <= got.spare_at < got.expires_at
    if expires_in >= 2 * MARGIN:
        assert got.expires_at - got.spare_at == MARGIN


@given(st.integers(7200, 10**6), spreads)
def test_half_life_is_never_missed(expires_in: int, spread: float) -> None:
    """Who comes at half-life finds a newer token due; it is not sooner than a tenth before that."""
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
def test_hold_off(refused: Refused, failures: int, least: float, most: float, spread: float) -> None:
    """Refusals are remembered about five seconds, faults back off to half a minute, Retry-After is kept."""
    assert least <= hold_off(refused, failures=failures, spread=spread) <= most


@given(st.integers(1, 10**6), spreads)
def test_patience(failures: int, spread: float) -> None:
    """A renewal that fails is tried ever more seldom, every five minutes at least."""
    assert min(300.0, 5.0 * 2 ** min(failures, 9)) / 2 <= patience(failures=failures, spread=spread) <= 300.0


@pytest.mark.parametrize("code", sorted(EVENTUAL_CODES))
def test_codes_that_pass_are_tried_again(code: int) -> None:
    """A few times, and no more."""
    assert {70021, 70025, 700211, 700213} <= EVENTUAL_CODES
    refused = REFUSED._replace(aadsts=code)
    delays = [retry_delay(refused, known=None, tries=tries, since_first=0.0) for tries in range(1, 6)]
    assert delays == [*EVENTUAL_DELAYS, None, None]


@pytest.mark.parametrize("code", [None, 700016, 700212, 7002138, 700024, 70023, 700222, 500011, 7000272, 50027])
def test_others_are_not(code: int | None) -> None:
    """They say what is so."""
    assert retry_delay(REFUSED._replace(aadsts=code), known=None, tries=1, since_first=0.0) is None


def test_a_known_refusal_is_not_tried_again() -> None:
    """Where the last exchange was refused with the same code, it does not pass by itself."""
    assert retry_delay(REFUSED, known=REFUSED, tries=1, since_first=0.0) is None
    assert retry_delay(REFUSED, known=unavailable("x"), tries=1, since_first=0.0) is not None


@given(st.integers(1, 5), st.floats(0, 100))
def test_the_last_try_begins_in_time(tries: int, since_first: float) -> None:
    """With the nine seconds that an exchange may take, nobody waits over twelve."""
    delay = retry_delay(REFUSED, known=None, tries=tries, since_first=since_first)
    assert delay is None or since_first + delay <= EVENTUAL_WINDOW
    assert EVENTUAL_WINDOW + DEADLINE <= 12.0
