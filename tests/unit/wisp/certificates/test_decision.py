"""What is to be done about certificates, moment by moment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.base.constants import CLOCK_TOLERANCE
from wisp.certificates.decision import (
    AddAuthority,
    Authority,
    Broken,
    Decision,
    Inspected,
    Lifetimes,
    Renew,
    Replace,
    Serve,
    ServingCertificate,
    decide,
)

DAY = 86400.0
NAME = "wisp-webhook.wisp.svc"
NAMES = frozenset({NAME})
LIFETIMES = Lifetimes()
NEW, OLD = b"new", b"old"


def inspected(
    *, authority: float = 0.0, serving: float = 0.0, issuer: bytes = NEW, names: frozenset[str] = NAMES
) -> Inspected:
    """Return those of an authority and a certificate made at these times (seconds)."""
    return Inspected(
        (Authority(NEW, authority, authority + LIFETIMES.authority), Authority(OLD, -1e9, 1e9)),
        ServingCertificate(issuer, names, serving, serving + LIFETIMES.certificate),
    )


@pytest.mark.parametrize(
    "found, now, expected",
    [
        pytest.param(Broken("no tls.key"), 0.0, Replace("no tls.key"), id="broken"),
        pytest.param(inspected(), 0.0, Serve(60 * DAY), id="new"),
        pytest.param(inspected(), 59.9 * DAY, Serve(60 * DAY), id="nearly due"),
        pytest.param(inspected(), 60 * DAY, Renew("it is due"), id="due at two thirds"),
        pytest.param(inspected(), 91 * DAY, Renew("it is due"), id="the certificate has expired"),
        pytest.param(
            inspected(names=frozenset({"other"})), 0.0, Renew("it does not have the service's names"), id="names"
        ),
        pytest.param(inspected(names=NAMES | {"more"}), 0.0, Serve(60 * DAY), id="more names than needed"),
        pytest.param(inspected(), 3650 * DAY, Replace("the CA has expired"), id="the CA has expired"),
        pytest.param(inspected(authority=1e6), 0.0, Replace("it is not valid yet"), id="of the future"),
        pytest.param(inspected(serving=1e6), 0.0, Replace("it is not valid yet"), id="certificate of the future"),
        pytest.param(inspected(authority=CLOCK_TOLERANCE), 0.0, Serve(60 * DAY), id="made by a slightly fast clock"),
        pytest.param(inspected(serving=2433 * DAY), 2434 * DAY, AddAuthority(), id="the CA is due at two thirds"),
    ],
)
def test_decision(found: Inspected | Broken, now: float, expected: Decision) -> None:
    """What is to be done."""
    assert decide(found, NAMES, now=now, lifetimes=LIFETIMES) == expected


def test_certificate_of_the_old_ca_is_served_until_the_new_ca_is_loaded() -> None:
    """After an announcement the old authority's certificate goes on, for ten minutes at least and until it is due."""
    announced = 59.999 * DAY
    found = inspected(authority=announced, issuer=OLD)
    assert decide(found, NAMES, now=announced, lifetimes=LIFETIMES) == Serve(announced + LIFETIMES.settling)
    assert LIFETIMES.settling == 600
    assert decide(found, NAMES, now=announced + 600, lifetimes=LIFETIMES) == Renew("it is due")


def test_certificate_about_to_expire_is_renewed_at_once() -> None:
    """Where there was nobody to renew it in time, the new authority's certificate comes at once."""
    late = 89 * DAY
    assert decide(inspected(authority=late, issuer=OLD), NAMES, now=late, lifetimes=LIFETIMES) == Renew("it is due")


@given(st.floats(0, 4e8), st.floats(0, 4e8), st.floats(0, 4e8), st.sampled_from([NEW, OLD]))
def test_served_certificate_is_valid_until_the_next_decision(
    now: float, authority: float, serving: float, issuer: bytes
) -> None:
    """What is served is valid now and until the next look, and the next look lies ahead."""
    found = inspected(authority=authority, serving=serving, issuer=issuer)
    decision = decide(found, NAMES, now=now, lifetimes=LIFETIMES)
    if isinstance(decision, Serve):
        assert now < decision.until < found.serving.expires_at
        assert now < found.authorities[0].expires_at
