"""Keeps certificate, Secret and configuration in step: reads them, asks `certificate`, does what it says.

Replicas need no leader. A write holds only for the version that was read, so of two at once one loses, and reads what
the other wrote. The configuration is read before the Secret and patched for that version only: a bundle can therefore
never be replaced by that of an older Secret. A certificate is shown only when, read in this order, the configuration
had the bundle of the Secret.

The Secret holds a record of the authorities that are accepted, by fingerprint. Others are removed from Secret and
configuration. When the Secret is lost, the record is lost with it, and a replica may be serving by an authority that
another knows only from the configuration. A new Secret is therefore written without a record first; then the
configuration is read, and its authorities that have our name are taken over, with the record. What is in use when the
Secret is lost was in the configuration before, so it is among them.
"""

import asyncio
from collections.abc import Callable, Iterable
from ssl import SSLError
from typing import NamedTuple, Protocol, assert_never

from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.kubernetes.client import UnansweredError
from wisp.kubernetes.watch import by_chance
from wisp.webhook.certificates.certificate import (
    Announce,
    Broken,
    Decision,
    Facts,
    Kept,
    Lives,
    Record,
    Renew,
    Repair,
    Serve,
    accepted,
    decide,
    fingerprints,
    recorded,
)
from wisp.webhook.certificates.certifying import UncertifiedError
from wisp.webhook.certificates.cluster import RefusedError, Stored
from wisp.webhook.certificates.configuration import Configuration

LONGEST_REST = 300.0
"""Seconds after which everything is looked at again, whether or not a watch has said something."""
_ROUNDS = 4
"""Steps that may follow each other at once: a certificate, its record, the bundle, and another replica's turn."""
_EMPTY = Kept(b"", Secret(""), b"", Secret(""))


class Store(Protocol):
    """Where the certificates live; see `wisp.webhook.certificates.cluster`."""

    async def stored(self) -> Stored:
        """Read the Secret."""

    async def store(self, kept: Kept, record: Record, before: Stored) -> bool:
        """Write it if it is as it was read; say whether it was."""

    async def configuration(self) -> Configuration | None:
        """Read the configuration; None where there is none."""

    async def put_bundle(self, bundle: bytes, before: Configuration) -> bool:
        """Put the bundle in if it is as it was read; say whether it was."""


class Maker(Protocol):
    """What makes and examines certificates; see `wisp.webhook.certificates.certifying`."""

    async def examine(self, kept: Kept) -> Facts | Broken:
        """Say what is kept."""

    async def make(self, names: Iterable[str], trusted: Iterable[bytes], *, now: float, lives: Lives) -> Kept:
        """Make everything anew."""

    async def adopt(self, kept: Kept, trusted: Iterable[bytes], *, now: float) -> Kept:
        """Put into the bundle what `trusted` holds of our authorities."""

    async def announce(self, kept: Kept, *, now: float, lives: Lives) -> Kept:
        """Put a new authority into the bundle."""

    async def renew(self, kept: Kept, names: Iterable[str], *, now: float, lives: Lives) -> Kept:
        """Issue a new certificate."""


class Show(Protocol):
    """What shows a certificate to new connections."""

    def show(self, chain: bytes, key: Secret) -> None:
        """Show it from now on. Raise ssl.SSLError where it cannot be."""


class Subject(NamedTuple):
    """What the certificates are for, how long they last, and what time it is (Unix seconds)."""

    names: frozenset[str]
    lives: Lives
    clock: Callable[[], float]


class Keeper:
    """Call `step` until it says that there is nothing to do for a while; `run` does so for ever."""

    def __init__(self, store: Store, maker: Maker, show: Show, subject: Subject, log: Log) -> None:
        self._store = store
        self._maker = maker
        self._show = show
        self._subject = subject
        self._log = log
        self._examined: tuple[Kept, Facts | Broken] | None = None
        self._shown: tuple[Kept, Facts] | None = None
        self._wake = asyncio.Event()
        self.failures = 0
        """How often something could not be read, written or made."""
        self.in_place = False
        """Whether API servers take what is shown, as far as was seen last."""

    @property
    def expires_at(self) -> float | None:
        """When the certificate that is shown ends, in Unix seconds."""
        return None if self._shown is None else self._shown[1].leaf.expires_at

    def wake(self) -> None:
        """Look again soon: something has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Keep everything in step, for ever."""
        failures = rounds = 0
        while True:
            self._wake.clear()
            try:
                rest = await self.step()
                failures, rounds = 0, 0 if rest else rounds + 1
            except (UnansweredError, RefusedError, UncertifiedError) as error:
                failures += 1
                self.failures += 1
                rest = 0.0
                self._log.warning("certificates not kept", reason=str(error))
            if rest:
                await self._pause(min(rest, LONGEST_REST))
            elif failures > 1 or rounds > _ROUNDS:
                await asyncio.sleep(by_chance(max(failures - 1, rounds - _ROUNDS)))

    async def step(self) -> float:
        """Do one thing if there is one to do; return how many seconds there is none, 0 to go on at once."""
        configuration = await self._store.configuration()
        stored = await self._store.stored()
        kept = stored.kept or _EMPTY
        if stored.record is not None:
            kept = kept._replace(bundle=accepted(kept.bundle, stored.record))
        facts = await self._examine(kept)
        if isinstance(facts, Facts) and (stored.record is None or stored.kept != kept):
            await self._accept(kept, stored)
            return 0.0
        subject = self._subject
        decision = decide(facts, subject.names, now=subject.clock(), lives=subject.lives)
        if isinstance(decision, Serve) and isinstance(facts, Facts):
            return await self._serve(stored, facts, configuration, until=decision.until)
        await self._change(decision, stored._replace(kept=kept), configuration)
        return 0.0

    async def _examine(self, kept: Kept) -> Facts | Broken:
        if kept == _EMPTY:
            return Broken("there is none yet")
        if self._examined is None or self._examined[0] != kept:
            self._examined = (kept, await self._maker.examine(kept))
        return self._examined[1]

    async def _accept(self, kept: Kept, stored: Stored) -> None:
        """Make a record where there is none, or write `kept`, the part of the Secret that is recorded."""
        record = stored.record
        if record is None:
            kept = await self._adopt(kept, self._bundles(await self._store.configuration()))
            record = recorded(kept.bundle)
        if await self._store.store(kept, record, stored):
            self._log_unknown("the Secret", [b"" if stored.kept is None else stored.kept.bundle], record)

    async def _adopt(self, kept: Kept, trusted: Iterable[bytes]) -> Kept:
        """Return `kept` with the authorities of `trusted` that it lacks."""
        if all(fingerprints(each).keys() <= fingerprints(kept.bundle).keys() for each in trusted):
            return kept
        whole = await self._maker.adopt(kept, trusted, now=self._subject.clock())
        if whole.bundle != kept.bundle:
            self._log.info("authorities adopted")
        return whole

    def _log_unknown(self, place: str, bundles: Iterable[bytes], record: Record) -> None:
        for each in {each for bundle in bundles for each in fingerprints(bundle)}.difference(record or ()):
            self._log.warning("unknown authority removed", place=place, fingerprint=each)

    async def _change(self, decision: Decision, stored: Stored, configuration: Configuration | None) -> None:
        now, lives, names = self._subject.clock(), self._subject.lives, self._subject.names
        kept, record = stored.kept or _EMPTY, stored.record
        match decision:
            case Serve():
                return
            case Announce():
                what, made = "authority announced", await self._maker.announce(kept, now=now, lives=lives)
            case Renew():
                what, made = "certificate renewed", await self._maker.renew(kept, names, now=now, lives=lives)
            case Repair():
                trusted = [kept.bundle, *self._trusted(configuration, record)]
                what, made = "certificates made", await self._maker.make(names, trusted, now=now, lives=lives)
            case _:
                assert_never(decision)
        reason = "" if isinstance(decision, Announce) else decision.reason
        if await self._store.store(made, record and recorded(made.bundle, record), stored):
            self._log.info(what, reason=reason)
        else:
            self._log.info("another replica was quicker", reason=reason)

    def _bundles(self, configuration: Configuration | None) -> list[bytes]:
        """Return the bundles by which replicas, this one among them, may be trusted at the moment."""
        ours = [] if self._shown is None else [self._shown[0].bundle]
        return ours + [bundle for _, bundle in configuration.webhooks] if configuration is not None else ours

    def _trusted(self, configuration: Configuration | None, record: Record) -> list[bytes]:
        """Return what is accepted of them: what this replica serves by, and what is recorded."""
        ours = () if self._shown is None else fingerprints(self._shown[0].bundle)
        return [accepted(each, {*ours, *(record or ())}) for each in self._bundles(configuration)]

    async def _serve(self, stored: Stored, facts: Facts, configuration: Configuration | None, *, until: float) -> float:
        kept = stored.kept or _EMPTY
        if configuration is None or not configuration.webhooks:
            self.in_place = False
            raise RefusedError("the MutatingWebhookConfiguration does not exist yet, or has no webhook")
        if not configuration.holds(kept.bundle):
            await self._put_in_place(kept, configuration, stored)
            return 0.0
        self._present(kept, facts)
        self.in_place = True
        return max(until - self._subject.clock(), 0.01)

    async def _put_in_place(self, kept: Kept, configuration: Configuration, stored: Stored) -> None:
        shown = self._shown
        self.in_place = shown is not None and configuration.trusts(shown[1].leaf.issuer)
        whole = await self._adopt(kept, self._trusted(configuration, stored.record))
        if whole.bundle != kept.bundle:
            await self._store.store(whole, recorded(whole.bundle, stored.record), stored)
            return
        done = await self._store.put_bundle(kept.bundle, configuration)
        self._log.info("CA bundle put in place" if done else "the configuration has just changed")
        if done:
            held = [bundle for _, bundle in configuration.webhooks]
            self._log_unknown("the MutatingWebhookConfiguration", held, stored.record)

    def _present(self, kept: Kept, facts: Facts) -> None:
        if self._shown is None or self._shown[0][2:] != kept[2:]:
            try:
                self._show.show(kept.chain, kept.key)
            except SSLError as error:  # it was examined, but OpenSSL has the last word
                raise UncertifiedError(f"the certificate cannot be used: {error.reason}") from None
            self._log.info("certificate in use", expires_at=int(facts.leaf.expires_at))
        self._shown = (kept, facts)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
