"""Replicas that keep one Secret and one configuration without a leader: API servers trust whoever is ready."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.webhook.replicas import LIVES, NAMES, Replica, Shared
from wisp.base.secret import Secret
from wisp.webhook.certificates import authority
from wisp.webhook.certificates.certificate import Facts, Kept, fingerprints

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
    Kept(b"", Secret(""), b"", Secret("")),
    Kept(b"\xff\xfe", Secret("\xff"), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Secret("x")),
)


def _broken(kept: Kept | None, how: int) -> Kept | None:
    """Return what somebody else makes of the Secret: nothing, garbage, a half of another, keys exchanged."""
    if how < len(_GARBAGE) or kept is None:
        return _GARBAGE[how % len(_GARBAGE)]
    other = authority.make(sorted(NAMES), now=1_700_000_000.0, authority_seconds=1e8, leaf_seconds=1e8)
    return (kept._replace(key=other.key), kept._replace(chain=b""), other)[how - len(_GARBAGE)]


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
        shared.set_kept(_broken(shared.kept, much))
    _all_trusted(replicas)


FOREIGN = authority.make(["elsewhere"], now=1_700_000_000.0, authority_seconds=1e8, leaf_seconds=1e8)
"""Of another's making, under the name that the webhook's own authorities have."""
_TAMPERINGS = (
    lambda kept: kept._replace(key=FOREIGN.key),
    lambda kept: kept._replace(chain=b""),
    lambda kept: kept._replace(authority_key=FOREIGN.authority_key),
    lambda kept: kept._replace(bundle=b""),
    lambda kept: kept._replace(bundle=b"\xff"),
    lambda kept: kept._replace(bundle=kept.bundle + FOREIGN.bundle),
    lambda kept: kept._replace(bundle=FOREIGN.bundle + kept.bundle),
    lambda kept: kept._replace(**FOREIGN._asdict()),
)
_HOSTILE_EVENTS = st.one_of(
    _EVENTS.filter(lambda event: event[0] != "break"),
    st.tuples(st.just("plant"), st.just(0), st.integers(0, 2)),
    st.tuples(st.just("tamper"), st.just(0), st.integers(0, len(_TAMPERINGS) - 1)),
)


def _attack(shared: Shared, event: tuple[str, int, int]) -> None:
    """Put a foreign authority into the configuration, or change a part of the Secret and leave its record."""
    name, _, how = event
    if name == "plant":
        shared.set_bundles(*[(each + FOREIGN.bundle, FOREIGN.bundle + each, each)[how] for each in shared.bundles])
    elif shared.kept is not None:
        shared.set_kept(_TAMPERINGS[how](shared.kept), shared.record)


@given(st.integers(2, 3), st.lists(_HOSTILE_EVENTS, max_size=60))
def test_foreign_authorities_never_stay(count: int, events: list[tuple[str, int, int]]) -> None:
    """Whoever puts them into configuration and Secret, and however often; whoever is ready is trusted all the time."""
    shared = Shared()
    replicas = [Replica(shared) for _ in range(count)]
    _settle(replicas)
    for event in events:
        if event[0] in ("plant", "tamper"):
            _attack(shared, event)
            _all_trusted(replicas)
        else:
            _play(replicas, shared, event)
    _settle(replicas)
    assert shared.kept is not None
    assert set(shared.bundles) == {shared.kept.bundle}
    assert FOREIGN.bundle not in shared.kept.bundle
    assert all(replica.ready for replica in replicas)


def _all_trusted(replicas: list[Replica]) -> None:
    assert all(replica.is_trusted() for replica in replicas if replica.ready)


def _settle(replicas: list[Replica]) -> None:
    for _ in range(3):
        for replica in replicas:
            replica.settle()
            _all_trusted(replicas)


@given(st.integers(2, 3), st.lists(_EVENTS, max_size=60))
def test_whoever_is_ready_is_trusted(count: int, events: list[tuple[str, int, int]]) -> None:
    """At every point, however requests interleave, replicas die, time passes and the Secret is broken by others.

    And when they are left alone all agree, and serve what is kept.
    """
    shared = Shared()
    replicas = [Replica(shared) for _ in range(count)]
    for event in events:
        _play(replicas, shared, event)
    _settle(replicas)
    assert all(replica.ready for replica in replicas)
    assert shared.kept is not None
    assert {replica.shown.chain for replica in replicas} == {shared.kept.chain}
    assert set(shared.bundles) == {shared.kept.bundle}


def test_years_of_a_cluster() -> None:
    """Two replicas that look every ten hours are never without a valid certificate, through several authorities."""
    shared = Shared()
    replicas = [Replica(shared) for _ in range(2)]
    authorities = set()
    for hour in range(300):
        shared.now += 10 * HOUR
        for replica in replicas if hour % 2 else reversed(replicas):
            replica.settle()
            _all_trusted(replicas)
        assert shared.kept is not None
        facts = authority.examine(shared.kept)
        assert isinstance(facts, Facts)
        assert facts.leaf.expires_at - shared.now > LIVES.leaf / 4
        assert len(facts.authorities) <= 2
        authorities.add(facts.authorities[0].pem)
    assert len(authorities) == 5, "one each two thirds of an authority's life"
    assert shared.writes < 60, "and nothing is written without need"


def test_a_reset_configuration_is_mended() -> None:
    """Somebody empties one bundle and puts another's into the other: the next look puts ours back."""
    shared = Shared()
    replica = Replica(shared)
    replica.settle()
    shared.set_bundles(b"", b"another's")
    replica.settle()
    assert shared.kept is not None
    assert shared.bundles == [shared.kept.bundle] * 2


def test_a_broken_secret_keeps_what_was_trusted() -> None:
    """Who repairs has not seen the old authority itself, only that API servers trust it: it stays in the bundle."""
    shared = Shared()
    old, new = Replica(shared), Replica(shared)
    old.settle()
    trusted = shared.bundles[0]
    shared.set_kept(None)
    new.settle()
    assert trusted in shared.bundles[0]
    assert old.is_trusted()
    assert new.is_trusted()


def test_breaking_it_again_and_again_does_not_make_it_grow() -> None:
    """A bundle holds eight authorities at most."""
    shared = Shared()
    replica = Replica(shared)
    for _ in range(12):
        replica.settle()
        shared.set_kept(None)
    replica.settle()
    assert shared.bundles[0].count(b"BEGIN CERTIFICATE") == 8


def test_a_new_authority_issues_nothing_before_it_is_known() -> None:
    """A certificate of a new authority is not made before the settling time, nor later than the old one's renewal."""
    shared = Shared()
    replica = Replica(shared)
    replica.settle()
    first = replica.shown.chain
    shared.now += LIVES.leaf * 0.6
    assert shared.kept is not None
    shared.set_kept(authority.announce(shared.kept, now=shared.now, seconds=LIVES.authority))
    replica.settle()
    assert replica.shown.chain == first
    assert shared.bundles[0].count(b"BEGIN CERTIFICATE") == 2
    shared.now += LIVES.leaf * 0.1
    replica.settle()
    assert replica.shown.chain != first


def test_foreign_authority_in_the_configuration_is_removed() -> None:
    """Its name is the webhook's own, but its fingerprint is not in the record; the log has the fingerprint."""
    shared = Shared()
    replica = Replica(shared)
    replica.settle()
    (own,) = shared.bundles[:1]
    shared.set_bundles(own + FOREIGN.bundle, FOREIGN.bundle)
    replica.settle()
    assert shared.bundles == [own, own]
    assert shared.kept is not None
    assert shared.kept.bundle == own
    (fingerprint,) = fingerprints(FOREIGN.bundle)
    fields: dict[str, object] = {"place": "the MutatingWebhookConfiguration", "fingerprint": fingerprint}
    assert replica.log.lines.count(("unknown authority removed", fields)) == 1


def test_foreign_authority_in_the_secret_is_removed() -> None:
    """As long as the record is intact: who can write the Secret can write the record too, and has the key anyway."""
    shared = Shared()
    replica = Replica(shared)
    replica.settle()
    kept, record = shared.kept, shared.record
    assert kept is not None
    shared.set_kept(kept._replace(bundle=kept.bundle + FOREIGN.bundle), record)
    replica.settle()
    assert (shared.kept, shared.record) == (kept, record)
    assert shared.bundles == [kept.bundle] * 2
    (fingerprint,) = fingerprints(FOREIGN.bundle)
    assert ("unknown authority removed", {"place": "the Secret", "fingerprint": fingerprint}) in replica.log.lines


def test_repair_accepts_only_recorded_authorities() -> None:
    """A foreign authority is not taken over when a broken Secret is repaired."""
    shared = Shared()
    old, new = Replica(shared), Replica(shared)
    old.settle()
    trusted = shared.bundles[0]
    assert shared.kept is not None
    shared.set_kept(shared.kept._replace(chain=b"", bundle=b""), shared.record)
    shared.set_bundles(trusted + FOREIGN.bundle, trusted)
    new.settle()
    assert trusted in shared.bundles[0]
    assert old.is_trusted()
    assert FOREIGN.bundle not in shared.bundles[0]


def test_replica_keeps_trust_in_the_authority_that_it_serves_by() -> None:
    """Also when somebody puts another's Secret there, with a record in which it is missing."""
    shared, elsewhere = Shared(), Shared()
    replica = Replica(shared)
    replica.settle()
    Replica(elsewhere).settle()
    trusted = shared.bundles[0]
    shared.set_kept(elsewhere.kept, elsewhere.record)
    while shared.bundles[0] == trusted:
        replica.advance()
        assert replica.is_trusted()
    replica.settle()
    assert elsewhere.kept is not None
    assert shared.bundles == [elsewhere.kept.bundle + trusted] * 2


def test_lost_record_is_made_of_what_is_trusted() -> None:
    """Without it, authorities of the webhook's own name are taken over once: a replica may be serving by them."""
    shared = Shared()
    old, new = Replica(shared), Replica(shared)
    old.settle()
    trusted, kept = shared.bundles[0], shared.kept
    shared.set_kept(None)
    shared.set_bundles(*[trusted + FOREIGN.chain] * 2)
    new.settle()
    assert trusted in shared.bundles[0]
    assert FOREIGN.chain not in shared.bundles[0], "that is no authority"
    assert old.is_trusted()
    assert shared.kept not in (None, kept)
    assert shared.record is not None
    assert set(shared.record) == set(fingerprints(shared.bundles[0]))
