"""What is to be done about certificates, moment by moment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.base.constants import CLOCK_TOLERANCE
from wisp.webhook.certificates.certificate import (
    Announce,
    Authority,
    Broken,
    Decision,
    Facts,
    Leaf,
    Lives,
    Renew,
    Repair,
    Serve,
    decide,
)

DAY = 86400.0
NAME = "wisp-webhook.wisp.svc"
NAMES = frozenset({NAME})
LIVES = Lives()
NEW, OLD = b"new", b"old"


def facts(*, authority: float = 0.0, leaf: float = 0.0, issuer: bytes = NEW, names: frozenset[str] = NAMES) -> Facts:
    """Return those of an authority and a certificate made at these times (seconds)."""
    return Facts(
        (Authority(NEW, authority, authority + LIVES.authority), Authority(OLD, -1e9, 1e9)),
        Leaf(issuer, names, leaf, leaf + LIVES.leaf),
    )


@pytest.mark.parametrize(
    "found, now, expected",
    [
        pytest.param(Broken("no tls.key"), 0.0, Repair("no tls.key"), id="broken"),
        pytest.param(facts(), 0.0, Serve(60 * DAY), id="new"),
        pytest.param(facts(), 59.9 * DAY, Serve(60 * DAY), id="nearly due"),
        pytest.param(facts(), 60 * DAY, Renew("it is due"), id="due at two thirds"),
        pytest.param(facts(), 91 * DAY, Renew("it is due"), id="the certificate has expired"),
        pytest.param(facts(names=frozenset({"other"})), 0.0, Renew("it is not for the service's names"), id="names"),
        pytest.param(facts(names=NAMES | {"more"}), 0.0, Serve(60 * DAY), id="more names than needed"),
        pytest.param(facts(), 3650 * DAY, Repair("the authority has expired"), id="the authority has expired"),
        pytest.param(facts(authority=1e6), 0.0, Repair("it is not valid yet"), id="of the future"),
        pytest.param(facts(leaf=1e6), 0.0, Repair("it is not valid yet"), id="certificate of the future"),
        pytest.param(facts(authority=CLOCK_TOLERANCE), 0.0, Serve(60 * DAY), id="made by a slightly fast clock"),
        pytest.param(facts(leaf=2433 * DAY), 2434 * DAY, Announce(), id="the authority is due at two thirds"),
    ],
)
def test_decisions(found: Facts | Broken, now: float, expected: Decision) -> None:
    """What is to be done."""
    assert decide(found, NAMES, now=now, lives=LIVES) == expected


def test_a_new_authority_waits() -> None:
    """After an announcement the old authority's certificate goes on, for ten minutes at least and until it is due."""
    announced = 59.999 * DAY
    found = facts(authority=announced, issuer=OLD)
    assert decide(found, NAMES, now=announced, lives=LIVES) == Serve(announced + LIVES.settling)
    assert LIVES.settling == 600
    assert decide(found, NAMES, now=announced + 600, lives=LIVES) == Renew("it is due")


def test_a_certificate_about_to_end_waits_for_nothing() -> None:
    """Where there was nobody to renew it in time, the new authority's certificate comes at once."""
    late = 89 * DAY
    assert decide(facts(authority=late, issuer=OLD), NAMES, now=late, lives=LIVES) == Renew("it is due")


@given(st.floats(0, 4e8), st.floats(0, 4e8), st.floats(0, 4e8), st.sampled_from([NEW, OLD]))
def test_serve_is_until_later_and_within_life(now: float, authority: float, leaf: float, issuer: bytes) -> None:
    """What is served is valid now and until the next look, and the next look lies ahead."""
    found = facts(authority=authority, leaf=leaf, issuer=issuer)
    decision = decide(found, NAMES, now=now, lives=LIVES)
    if isinstance(decision, Serve):
        assert now < decision.until < found.leaf.expires_at
        assert now < found.authorities[0].expires_at
