"""Replicas in small: real keepers and real certificates around a Secret and a configuration in memory.

Every request stops before it takes effect and after, so that a test decides who goes on, who dies, and what happens
meanwhile.
"""

from collections.abc import Coroutine, Generator, Iterable
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from wisp.base.secret import Secret
from wisp.webhook.certificates import authority
from wisp.webhook.certificates.certificate import Broken, Facts, Kept, Lives, Record
from wisp.webhook.certificates.cluster import Stored
from wisp.webhook.certificates.configuration import Configuration
from wisp.webhook.certificates.keeper import Keeper, Subject

NAMES = frozenset({"wisp-webhook.wisp.svc"})
LIVES = Lives(authority=1000 * 3600.0, leaf=100 * 3600.0)


class _Point:
    """Where a coroutine stops once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Shared:
    """The Secret and the configuration, with versions; a write from an old version is refused."""

    def __init__(self, webhooks: int = 2) -> None:
        self.now = 1_700_000_000.0
        self.kept: Kept | None = None
        self.record: Record = None
        self.secret_version = 0
        self.bundles = [b""] * webhooks
        self.configuration_version = 0
        self.writes = 0

    def set_kept(self, kept: Kept | None, record: Record = None) -> None:
        """Change the Secret, whoever does it."""
        self.kept, self.record = kept, record
        self.secret_version += 1

    def set_bundles(self, *bundles: bytes) -> None:
        """Change the configuration, whoever does it."""
        self.bundles = list(bundles)
        self.configuration_version += 1


class View:
    """One replica's way to the shared objects."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def stored(self) -> Stored:
        """Read the Secret."""
        await _Point()
        shared = self._shared
        found = Stored(shared.kept, None if shared.kept is None else {"version": shared.secret_version}, shared.record)
        await _Point()
        return found

    async def store(self, kept: Kept, record: Record, before: Stored) -> bool:
        """Write the Secret."""
        await _Point()
        shared = self._shared
        version = None if shared.kept is None else {"version": shared.secret_version}
        done = version == before.document
        if done:
            shared.writes += 1
            shared.set_kept(kept, record)
        await _Point()
        return done

    async def configuration(self) -> Configuration:
        """Read the configuration."""
        await _Point()
        shared = self._shared
        webhooks = tuple((str(place), bundle) for place, bundle in enumerate(shared.bundles))
        found = Configuration(str(shared.configuration_version), webhooks)
        await _Point()
        return found

    async def put_bundle(self, bundle: bytes, before: Configuration) -> bool:
        """Patch the configuration."""
        await _Point()
        shared = self._shared
        done = before.version == str(shared.configuration_version)
        if done:
            shared.set_bundles(*[bundle] * len(shared.bundles))
        await _Point()
        return done


class Here:
    """Makes certificates in this process."""

    async def examine(self, kept: Kept) -> Facts | Broken:
        """Say what it is."""
        return authority.examine(kept)

    async def make(self, names: Iterable[str], trusted: Iterable[bytes], *, now: float, lives: Lives) -> Kept:
        """Make everything."""
        return authority.make(
            sorted(names), now=now, authority_seconds=lives.authority, leaf_seconds=lives.leaf, trusted=trusted
        )

    async def adopt(self, kept: Kept, trusted: Iterable[bytes], *, now: float) -> Kept:
        """Keep trusting."""
        return authority.adopt(kept, trusted, now=now)

    async def announce(self, kept: Kept, *, now: float, lives: Lives) -> Kept:
        """Make an authority."""
        return authority.announce(kept, now=now, seconds=lives.authority)

    async def renew(self, kept: Kept, names: Iterable[str], *, now: float, lives: Lives) -> Kept:
        """Make a certificate."""
        return authority.renew(kept, sorted(names), now=now, seconds=lives.leaf)


class Shown:
    """What one replica shows."""

    def __init__(self) -> None:
        self.chain = b""

    def show(self, chain: bytes, key: Secret) -> None:
        """Take it."""
        assert key.reveal()
        self.chain = chain


class Quiet:
    """A log that nobody reads."""

    def debug(self, event: str, **fields: object) -> None:
        """Pass over it."""

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
    """A process that keeps certificates; it can be advanced by a hair, and die at any point."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.log = Events()
        self.restart()

    def restart(self) -> None:
        """Die, wherever it is, and begin anew."""
        step: Coroutine[Any, Any, float] | None = getattr(self, "_step", None)
        if step is not None:
            step.close()
        self.shown = Shown()
        subject = Subject(NAMES, LIVES, lambda: self._shared.now)
        self.keeper = Keeper(View(self._shared), Here(), self.shown, subject, self.log)  # type: ignore[arg-type]  # a fake
        self._step: Coroutine[Any, Any, float] | None = None

    def advance(self) -> float | None:
        """Go on to the next point; return the rest at the end of a step, else None."""
        if self._step is None:
            self._step = self.keeper.step()
        try:
            self._step.send(None)
        except StopIteration as done:
            self._step = None
            rest: float = done.value
            return rest
        return None

    def settle(self) -> None:
        """Go on until there is nothing to do."""
        for _ in range(2000):
            if self.advance():
                return
        raise AssertionError("it never comes to rest")

    @property
    def ready(self) -> bool:
        """Whether reviews are sent to it."""
        return bool(self.shown.chain) and self.keeper.in_place

    def is_trusted(self) -> bool:
        """Verify what it shows by every webhook's bundle, as an API server would; what has expired is past caring."""
        leaf = x509.load_pem_x509_certificate(self.shown.chain)
        if leaf.not_valid_after_utc.timestamp() <= self._shared.now:
            return True
        return all(_verifies(bundle, leaf, self._shared.now) for bundle in self._shared.bundles)


def _verifies(bundle: bytes, leaf: x509.Certificate, now: float) -> bool:
    for each in x509.load_pem_x509_certificates(bundle) if bundle else []:
        try:
            leaf.verify_directly_issued_by(each)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return each.not_valid_after_utc.timestamp() > now
    return False
