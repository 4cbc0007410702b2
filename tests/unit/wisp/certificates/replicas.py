"""Replicas: real controllers and real certificates with a Secret and a configuration in memory.

Every request stops before and after it takes effect, so a test decides which replica goes on, which one is restarted,
and what happens in between.
"""

from collections.abc import Coroutine, Generator
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from wisp.base.secret import Secret
from wisp.certificates import issuer_process
from wisp.certificates.controller import CertificateController, CertificateSpec, Stores
from wisp.certificates.decision import EMPTY, Broken, CertificateSet, Inspected, Lifetimes, Record
from wisp.certificates.issuer import IssueAll, IssueRequest, Subject
from wisp.certificates.store import Published, StoredSecret

NAMES = ("wisp-webhook.wisp.svc",)
SUBJECT = Subject("wisp webhook", NAMES)
LIFETIMES = Lifetimes(authority=1000 * 3600.0, certificate=100 * 3600.0)


class _Point:
    """Stops a coroutine once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Shared:
    """The Secret and the configuration, with versions; a write based on an old version is rejected."""

    def __init__(self, webhooks: int = 2) -> None:
        self.now = 1_700_000_000.0
        self.certificates = EMPTY
        self.record: Record = None
        self.exists = False
        self.secret_version = 0
        self.bundles = [b""] * webhooks
        self.configuration_version = 0
        self.writes = 0

    @property
    def secret_document(self) -> dict[str, int] | None:
        """What a write must have read: a version, or that there is no Secret."""
        return None if not self.exists else {"version": self.secret_version}

    def set_secret(self, certificates: CertificateSet | None, record: Record = None) -> None:
        """Change the Secret, or delete it (None)."""
        self.certificates, self.record, self.exists = certificates or EMPTY, record, certificates is not None
        self.secret_version += 1

    def set_bundles(self, *bundles: bytes) -> None:
        """Change the configuration."""
        self.bundles = list(bundles)
        self.configuration_version += 1


class ReplicaSecret:
    """One replica's access to the shared Secret."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def read(self) -> StoredSecret:
        """Read the Secret."""
        await _Point()
        shared = self._shared
        found = StoredSecret(shared.certificates, shared.secret_document, shared.record)
        await _Point()
        return found

    async def write(self, certificates: CertificateSet, record: Record, before: StoredSecret) -> bool:
        """Write the Secret."""
        await _Point()
        shared = self._shared
        done = shared.secret_document == before.document
        if done:
            shared.writes += 1
            shared.set_secret(certificates, record)
        await _Point()
        return done


class ReplicaConfiguration:
    """One replica's access to the shared configuration."""

    place = "the MutatingWebhookConfiguration"

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def read(self) -> Published:
        """Read the configuration."""
        await _Point()
        shared = self._shared
        webhooks = tuple((str(place), bundle) for place, bundle in enumerate(shared.bundles))
        found = Published(str(shared.configuration_version), webhooks)
        await _Point()
        return found

    async def write(self, bundle: bytes, before: Published) -> bool:
        """Patch the configuration."""
        await _Point()
        shared = self._shared
        done = before.version == str(shared.configuration_version)
        if done:
            shared.set_bundles(*[bundle] * len(shared.bundles))
        await _Point()
        return done


class IssuerInProcess:
    """Issues certificates in this process."""

    async def inspect(self, certificates: CertificateSet) -> Inspected | Broken:
        """Inspect a set."""
        return issuer_process.inspect(certificates)

    async def issue(self, request: IssueRequest) -> CertificateSet:
        """Issue a set."""
        return issuer_process.issue(request)


class CertificateInUse:
    """The certificate that one replica uses."""

    def __init__(self) -> None:
        self.chain = b""

    def show(self, chain: bytes, key: Secret) -> None:
        """Use it."""
        assert key.reveal()
        self.chain = chain


class NoLog:
    """A log that drops everything."""

    def debug(self, event: str, **fields: object) -> None:
        """Drop it."""

    info = warning = debug


class Events:
    """A log in memory."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def debug(self, event: str, **fields: object) -> None:
        """Take a line."""
        self.lines.append((event, fields))

    info = warning = debug


class Replica:
    """A server process; it can be advanced from request to request, and restarted at any point.

    It is a webhook, or, with `publishes=False`, a gateway, whose clients read the bundle in the Secret.
    """

    def __init__(self, shared: Shared, lifetimes: Lifetimes = LIFETIMES, *, publishes: bool = True) -> None:
        self._shared = shared
        self._lifetimes = lifetimes
        self._publishes = publishes
        self.log = Events()
        self.restart()

    def restart(self) -> None:
        """Restart the process, wherever it is."""
        step: Coroutine[Any, Any, float] | None = getattr(self, "_step", None)
        if step is not None:
            step.close()
        self.in_use = CertificateInUse()
        configuration = ReplicaConfiguration(self._shared) if self._publishes else None
        stores = Stores(ReplicaSecret(self._shared), configuration)
        spec = CertificateSpec(SUBJECT, self._lifetimes, lambda: self._shared.now)
        self.controller = CertificateController(stores, IssuerInProcess(), self.in_use, spec, self.log)  # type: ignore[arg-type]  # a fake log
        self._step: Coroutine[Any, Any, float] | None = None

    def advance(self) -> float | None:
        """Advance to the next point; return the pause at the end of a step, else None."""
        if self._step is None:
            self._step = self.controller.step()
        try:
            self._step.send(None)
        except StopIteration as done:
            self._step = None
            pause: float = done.value
            return pause
        return None

    def settle(self) -> None:
        """Advance until there is nothing to do."""
        for _ in range(2000):
            if self.advance():
                return
        raise AssertionError("it never pauses")

    @property
    def ready(self) -> bool:
        """Whether requests are sent to it."""
        return bool(self.in_use.chain) and self.controller.is_trusted

    def is_trusted(self) -> bool:
        """Verify its certificate by every webhook's bundle, as an API server would; an expired one is ignored."""
        leaf = x509.load_pem_x509_certificate(self.in_use.chain)
        if leaf.not_valid_after_utc.timestamp() <= self._shared.now:
            return True
        return all(_verifies(bundle, leaf, self._shared.now) for bundle in self._shared.bundles)

    def is_trusted_with(self, bundle: bytes) -> bool:
        """Verify its certificate strictly (RFC 5280) by a bundle, as a client that has kept this bundle would."""
        leaf, *others = x509.load_pem_x509_certificates(self.in_use.chain)
        store = Store(x509.load_pem_x509_certificates(bundle))
        builder = PolicyBuilder().store(store).time(datetime.fromtimestamp(self._shared.now, UTC))
        try:
            builder.build_server_verifier(x509.DNSName(NAMES[0])).verify(leaf, others)
        except VerificationError:
            return False
        return True


def _verifies(bundle: bytes, leaf: x509.Certificate, now: float) -> bool:
    for authority in x509.load_pem_x509_certificates(bundle) if bundle else []:
        try:
            leaf.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return authority.not_valid_after_utc.timestamp() > now
    return False


def issued(*names: str, now: float = 1_700_000_000.0, seconds: float = 1e8) -> CertificateSet:
    """Issue a set, with a CA of its own."""
    return issuer_process.issue(IssueAll(Subject("wisp webhook", names), now, seconds, seconds))
