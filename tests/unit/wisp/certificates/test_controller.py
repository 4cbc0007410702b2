"""Replicas share one Secret and one configuration without a leader, and API servers trust every ready replica."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.certificates.replicas import LIFETIMES, NAMES, SUBJECT, Replica, Shared, issued
from wisp.base.secret import Secret
from wisp.certificates import issuer_process
from wisp.certificates.decision import EMPTY, CertificateSet, Inspected, fingerprints
from wisp.certificates.issuer import IssueAuthority

HOUR = 3600.0
_WHO = st.integers(0, 2)
_GO = st.tuples(st.just("go"), _WHO, st.integers(1, 12))
_EVENTS = st.one_of(
    _GO,
    _GO,
    _GO,
    st.tuples(st.just("die"), _WHO, st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 40)),
    st.tuples(st.just("break"), st.just(0), st.integers(0, 5)),
)
_GARBAGE = (
    None,
    EMPTY,
    CertificateSet(
        b"\xff\xfe", Secret("\xff"), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Secret("x")
    ),
)


def _broken(shared: Shared, how: int) -> CertificateSet | None:
    """Return a Secret that others have broken: none, garbage, a half of another one, exchanged keys."""
    if how < len(_GARBAGE) or not shared.exists:
        return _GARBAGE[how % len(_GARBAGE)]
    certificates, other = shared.certificates, issued(*NAMES)
    return (certificates._replace(key=other.key), certificates._replace(chain=b""), other)[how - len(_GARBAGE)]


def _play(replicas: list[Replica], shared: Shared, event: tuple[str, int, int]) -> None:
    name, who, much = event
    if name == "go":
        for _ in range(much):
            replicas[who % len(replicas)].advance()
            _all_trusted(replicas)
    elif name == "die":
        replicas[who % len(replicas)].restart()
    elif name == "wait":
        shared.now += much * HOUR
    else:
        shared.set_secret(_broken(shared, much))
    _all_trusted(replicas)


FOREIGN = issued("elsewhere")
"""Made elsewhere, under the name that the webhook's own authorities have."""
_TAMPERINGS = (
    lambda certificates: certificates._replace(key=FOREIGN.key),
    lambda certificates: certificates._replace(chain=b""),
    lambda certificates: certificates._replace(ca_key=FOREIGN.ca_key),
    lambda certificates: certificates._replace(bundle=b""),
    lambda certificates: certificates._replace(bundle=b"\xff"),
    lambda certificates: certificates._replace(bundle=certificates.bundle + FOREIGN.bundle),
    lambda certificates: certificates._replace(bundle=FOREIGN.bundle + certificates.bundle),
    lambda certificates: certificates._replace(**FOREIGN._asdict()),
)
_HOSTILE_EVENTS = st.one_of(
    _EVENTS.filter(lambda event: event[0] != "break"),
    st.tuples(st.just("insert"), st.just(0), st.integers(0, 2)),
    st.tuples(st.just("tamper"), st.just(0), st.integers(0, len(_TAMPERINGS) - 1)),
)


def _attack(shared: Shared, event: tuple[str, int, int]) -> None:
    """Put a foreign authority into the configuration, or change a part of the Secret and leave its record."""
    name, _, how = event
    if name == "insert":
        shared.set_bundles(
            *[(bundle + FOREIGN.bundle, FOREIGN.bundle + bundle, bundle)[how] for bundle in shared.bundles]
        )
    elif shared.exists:
        shared.set_secret(_TAMPERINGS[how](shared.certificates), shared.record)


@pytest.mark.system
@given(st.integers(2, 3), st.lists(_HOSTILE_EVENTS, max_size=60))
def test_foreign_authorities_never_stay(count: int, events: list[tuple[str, int, int]]) -> None:
    """However often they are put into configuration and Secret; every ready replica is trusted all the time."""
    shared = Shared()
    replicas = [Replica(shared) for _ in range(count)]
    _settle(replicas)
    for event in events:
        if event[0] in ("insert", "tamper"):
            _attack(shared, event)
            _all_trusted(replicas)
        else:
            _play(replicas, shared, event)
    _settle(replicas)
    assert shared.certificates != EMPTY
    assert set(shared.bundles) == {shared.certificates.bundle}
    assert FOREIGN.bundle not in shared.certificates.bundle
    assert all(replica.ready for replica in replicas)


def _all_trusted(replicas: list[Replica]) -> None:
    assert all(replica.is_trusted() for replica in replicas if replica.ready)


def _settle(replicas: list[Replica]) -> None:
    for _ in range(3):
        for replica in replicas:
            replica.settle()
            _all_trusted(replicas)


@pytest.mark.system
@given(st.integers(2, 3), st.lists(_EVENTS, max_size=60))
def test_ready_replica_is_trusted(count: int, events: list[tuple[str, int, int]]) -> None:
    """At every point, however requests interleave, replicas die, time passes and the Secret is broken by others.

    And when they are left alone all agree, and serve what is stored.
    """
    shared = Shared()
    replicas = [Replica(shared) for _ in range(count)]
    for event in events:
        _play(replicas, shared, event)
    _settle(replicas)
    assert all(replica.ready for replica in replicas)
    assert shared.certificates != EMPTY
    assert {replica.in_use.chain for replica in replicas} == {shared.certificates.chain}
    assert set(shared.bundles) == {shared.certificates.bundle}


def test_certificate_stays_valid_through_several_authorities() -> None:
    """Two replicas that look every ten hours are never without a valid certificate."""
    shared = Shared()
    replicas = [Replica(shared) for _ in range(2)]
    authorities = set()
    for hour in range(300):
        shared.now += 10 * HOUR
        for replica in replicas if hour % 2 else reversed(replicas):
            replica.settle()
            _all_trusted(replicas)
        assert shared.certificates != EMPTY
        facts = issuer_process.inspect(shared.certificates)
        assert isinstance(facts, Inspected)
        assert facts.serving.expires_at - shared.now > LIFETIMES.certificate / 4
        assert len(facts.authorities) <= 2
        authorities.add(facts.authorities[0].pem)
    assert len(authorities) == 5, "one every two thirds of an authority's life"
    assert shared.writes < 60, "and nothing is written without need"


def test_reset_configuration_gets_its_bundle_back() -> None:
    """One bundle is emptied, the other one replaced by a foreign one: the next step restores both."""
    shared = Shared()
    replica = Replica(shared)
    replica.settle()
    shared.set_bundles(b"", b"another's")
    replica.settle()
    assert shared.certificates != EMPTY
    assert shared.bundles == [shared.certificates.bundle] * 2


def test_trusted_authority_survives_the_loss_of_the_secret() -> None:
    """The new replica knows the old authority only from the configuration; it stays in the bundle."""
    shared = Shared()
    old, new = Replica(shared), Replica(shared)
    old.settle()
    trusted = shared.bundles[0]
    shared.set_secret(None)
    new.settle()
    assert trusted in shared.bundles[0]
    assert old.is_trusted()
    assert new.is_trusted()


def test_bundle_stays_bounded_when_the_secret_is_lost_repeatedly() -> None:
    """A bundle holds eight authorities at most."""
    shared = Shared()
    replica = Replica(shared)
    for _ in range(12):
        replica.settle()
        shared.set_secret(None)
    replica.settle()
    assert shared.bundles[0].count(b"BEGIN CERTIFICATE") == 8


def test_new_authority_issues_nothing_before_it_is_known() -> None:
    """A certificate of a new authority is not made before the settling time, nor later than the old one's renewal."""
    shared = Shared()
    replica = Replica(shared)
    replica.settle()
    first = replica.in_use.chain
    shared.now += LIFETIMES.certificate * 0.6
    assert shared.certificates != EMPTY
    shared.set_secret(
        issuer_process.issue(IssueAuthority(shared.certificates, SUBJECT, shared.now, LIFETIMES.authority))
    )
    replica.settle()
    assert replica.in_use.chain.startswith(first)
    assert shared.bundles[0].count(b"BEGIN CERTIFICATE") == 2
    shared.now += LIFETIMES.certificate * 0.1
    replica.settle()
    assert not replica.in_use.chain.startswith(first)


def test_foreign_authority_in_the_configuration_is_removed() -> None:
    """Its name is the webhook's own, but its fingerprint is not in the record; the log has the fingerprint."""
    shared = Shared()
    replica = Replica(shared)
    replica.settle()
    (own,) = shared.bundles[:1]
    shared.set_bundles(own + FOREIGN.bundle, FOREIGN.bundle)
    replica.settle()
    assert shared.bundles == [own, own]
    assert shared.certificates != EMPTY
    assert shared.certificates.bundle == own
    (fingerprint,) = fingerprints(FOREIGN.bundle)
    fields: dict[str, object] = {"place": "the MutatingWebhookConfiguration", "fingerprint": fingerprint}
    assert replica.log.lines.count(("unknown authority removed", fields)) == 1


def test_foreign_authority_in_the_secret_is_removed() -> None:
    """As long as the record is intact. An attacker who can write the Secret has the key anyway."""
    shared = Shared()
    replica = Replica(shared)
    replica.settle()
    certificates, record = shared.certificates, shared.record
    assert certificates != EMPTY
    shared.set_secret(certificates._replace(bundle=certificates.bundle + FOREIGN.bundle), record)
    replica.settle()
    assert (shared.certificates, shared.record) == (certificates, record)
    assert shared.bundles == [certificates.bundle] * 2
    (fingerprint,) = fingerprints(FOREIGN.bundle)
    assert ("unknown authority removed", {"place": "the Secret", "fingerprint": fingerprint}) in replica.log.lines


def test_replacement_keeps_only_recorded_authorities() -> None:
    """A foreign authority is not kept when a broken Secret is replaced."""
    shared = Shared()
    old, new = Replica(shared), Replica(shared)
    old.settle()
    trusted = shared.bundles[0]
    assert shared.certificates != EMPTY
    shared.set_secret(shared.certificates._replace(chain=b"", bundle=b""), shared.record)
    shared.set_bundles(trusted + FOREIGN.bundle, trusted)
    new.settle()
    assert trusted in shared.bundles[0]
    assert old.is_trusted()
    assert FOREIGN.bundle not in shared.bundles[0]


def test_replica_keeps_trust_in_the_authority_it_serves_with() -> None:
    """Also when the Secret is replaced by another one, whose record does not have it."""
    shared, elsewhere = Shared(), Shared()
    replica = Replica(shared)
    replica.settle()
    Replica(elsewhere).settle()
    trusted = shared.bundles[0]
    shared.set_secret(elsewhere.certificates, elsewhere.record)
    while shared.bundles[0] == trusted:
        replica.advance()
        assert replica.is_trusted()
    replica.settle()
    assert elsewhere.certificates != EMPTY
    assert shared.bundles == [elsewhere.certificates.bundle + trusted] * 2


def test_lost_record_is_rebuilt_from_what_is_trusted() -> None:
    """Without a record, authorities with the webhook's own name are adopted once: a replica may serve with them."""
    shared = Shared()
    old, new = Replica(shared), Replica(shared)
    old.settle()
    trusted, certificates = shared.bundles[0], shared.certificates
    shared.set_secret(None)
    shared.set_bundles(*[trusted + FOREIGN.chain] * 2)
    new.settle()
    assert trusted in shared.bundles[0]
    assert FOREIGN.chain not in shared.bundles[0], "it is not an authority's"
    assert old.is_trusted()
    assert shared.certificates not in (EMPTY, certificates)
    assert shared.record is not None
    assert set(shared.record) == set(fingerprints(shared.bundles[0]))
