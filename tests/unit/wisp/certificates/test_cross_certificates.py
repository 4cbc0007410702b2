"""Clients that keep an old bundle, as pods do in a variable, trust the server until the bundle's newest CA expires."""

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.certificates.replicas import LIFETIMES, Replica, Shared
from wisp.base.pem import pem_blocks
from wisp.certificates.decision import EMPTY, Lifetimes

HOUR = 3600.0
DAY = 24 * HOUR
YEAR = 365 * DAY


class Clients:
    """Clients that took the bundle of the Secret at some moment, and keep it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._bundles: dict[bytes, float] = {}
        self.bundles = 0
        """How many different bundles they have taken."""

    def take(self) -> None:
        """Start a client, with the bundle that is in the Secret now."""
        bundle = self._shared.certificates.bundle
        if bundle and bundle not in self._bundles:
            self._bundles[bundle] = x509.load_pem_x509_certificate(bundle).not_valid_after_utc.timestamp()
            self.bundles += 1

    def assert_trust(self, replicas: list[Replica]) -> None:
        """Assert that every client whose CA has not expired verifies what every replica serves."""
        now = self._shared.now
        self._bundles = {bundle: expires_at for bundle, expires_at in self._bundles.items() if expires_at > now}
        for replica in replicas:
            if replica.in_use.chain and (replica.controller.expires_at or 0) > now:
                assert all(map(replica.is_trusted_with, self._bundles))


@pytest.mark.system
@pytest.mark.parametrize("publishes", [False, True], ids=["gateway", "webhook"])
def test_clients_trust_the_server_for_thirty_years(*, publishes: bool) -> None:
    """Two replicas that look every ten days, and a new client each time."""
    shared, lifetimes = Shared(), Lifetimes()
    replicas = [Replica(shared, lifetimes, publishes=publishes) for _ in range(2)]
    clients = Clients(shared)
    end = shared.now + 30 * YEAR
    while shared.now < end:
        for replica in replicas:
            replica.settle()
            clients.take()
            clients.assert_trust(replicas)
        shared.now += 10 * DAY
    assert clients.bundles == 8, "one more for every new CA, and one more when the old one has expired"
    assert len(pem_blocks(replicas[0].in_use.chain)) <= 2, "only what a client may still need"


def test_clients_trust_the_server_when_lifetimes_become_short() -> None:
    """A client follows several cross certificates, until one of the CAs between its own and the newest expires."""
    shared = Shared()
    replica = Replica(shared, publishes=False, lifetimes=Lifetimes(authority=10 * YEAR))
    replica.settle()
    clients = Clients(shared)
    clients.take()
    shared.now += 6.5 * YEAR
    replica = Replica(shared, publishes=False, lifetimes=Lifetimes(authority=YEAR))
    for _ in range(20):
        replica.settle()
        clients.assert_trust([replica])
        shared.now += 20 * DAY
    assert len(pem_blocks(replica.in_use.chain)) == 3


_EVENTS = st.one_of(
    st.tuples(st.just("go"), st.integers(0, 2), st.integers(1, 12)),
    st.tuples(st.just("die"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 200)),
)


@given(st.integers(1, 3), st.lists(_EVENTS, max_size=60))
def test_clients_trust_every_replica(count: int, events: list[tuple[str, int, int]]) -> None:
    """At every point, however requests interleave, replicas die and time passes."""
    shared = Shared()
    replicas = [Replica(shared, publishes=False) for _ in range(count)]
    clients = Clients(shared)
    for name, who, much in events:
        replica = replicas[who % count]
        if name == "die":
            replica.restart()
        elif name == "wait":
            shared.now += much * HOUR
        else:
            for _ in range(much):
                replica.advance()
                clients.take()
                clients.assert_trust(replicas)
        clients.assert_trust(replicas)


def test_clients_trust_the_certificates_that_replace_a_lost_secret() -> None:
    """A replica that still serves with the old CA certifies the new one with it."""
    shared = Shared()
    replica = Replica(shared, publishes=False)
    clients = Clients(shared)
    for _ in range(3):
        replica.settle()
        clients.take()
        clients.assert_trust([replica])
        shared.set_secret(None)
    replica.settle()
    clients.assert_trust([replica])
    assert clients.bundles == 3


def test_chain_stays_bounded_when_the_secret_is_lost_repeatedly() -> None:
    """A chain holds eight certificates at most."""
    shared = Shared()
    replica = Replica(shared, publishes=False)
    for _ in range(12):
        replica.settle()
        shared.set_secret(None)
    replica.settle()
    assert len(pem_blocks(replica.in_use.chain)) == 8


def test_gateway_serves_without_a_publication() -> None:
    """What is in the Secret is published: the first certificate is in use, and trusted, at once."""
    shared = Shared()
    replica = Replica(shared, LIFETIMES, publishes=False)
    replica.settle()
    assert replica.ready
    assert shared.certificates != EMPTY
    assert replica.is_trusted_with(shared.certificates.bundle)
    assert shared.bundles == [b"", b""]
