"""Keep certificate, Secret and published CA bundle in step: read them, let `decision` decide, and act on it.

Replicas need no leader. A write succeeds only for the version that was read, so of two concurrent writes one fails, and
its replica reads what the other wrote. The bundle is in the Secret. If clients read it elsewhere (API servers: in the
MutatingWebhookConfiguration), that is the publication. It is read before the Secret and changed for that version only,
so a bundle can never be replaced by the bundle of an older Secret. A certificate is used only when, read in this order,
the publication had the bundle of the Secret.

The Secret holds a record of the CAs that are accepted, by fingerprint. Others are removed from Secret and publication.
If the Secret is lost, the record is lost with it, and a replica may be serving with a CA that another replica knows
only from the publication. Therefore a new Secret is first written without a record; then the publication is read, and
the CAs in it that have the name of wisp's CAs are adopted, together with the record. What is in use when the Secret is
lost was in the publication before, so it is among them.
"""

import asyncio
from collections.abc import Callable, Iterable
from ssl import SSLError
from typing import NamedTuple, Protocol, assert_never

from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.certificates.decision import (
    EMPTY,
    AddAuthority,
    Broken,
    CertificateSet,
    Inspected,
    Lifetimes,
    Record,
    Renew,
    Replace,
    Serve,
    decide,
    fingerprints,
    only_recorded,
    record_of,
    unrecorded,
)
from wisp.certificates.issuer import (
    Adopt,
    CertificateIssuer,
    IssueAll,
    IssueAuthority,
    IssueCertificate,
    IssueRequest,
    IssuerError,
    Subject,
)
from wisp.certificates.store import Publication, Published, StoredSecret, StoreError
from wisp.kubernetes.types import ApiUnavailableError
from wisp.kubernetes.watch import random_pause

LONGEST_PAUSE = 300.0
"""Seconds after which everything is read again, whether or not a watch has reported a change."""
_STEPS_WITHOUT_PAUSE = 4
"""Steps that may follow each other: a certificate, its record, the bundle, and another replica's write."""


class SecretStore(Protocol):
    """The Secret; see `wisp.certificates.store.CertificateSecret`."""

    async def read(self) -> StoredSecret:
        """Read the Secret."""

    async def write(self, certificates: CertificateSet, record: Record, before: StoredSecret) -> bool:
        """Write the Secret; return False if it is not as it was read."""


class Stores(NamedTuple):
    """Where the certificates are stored."""

    secret: SecretStore
    publication: Publication | None = None
    """Where clients read the CA bundle; None: in the Secret itself."""


class CertificateUser(Protocol):
    """What presents the certificate to new connections."""

    def show(self, chain: bytes, key: Secret) -> None:
        """Use this certificate from now on. Raise ssl.SSLError if it cannot be used."""


class CertificateSpec(NamedTuple):
    """Whom certificates are issued for, how long they are valid, and a clock (Unix seconds)."""

    subject: Subject
    lifetimes: Lifetimes
    clock: Callable[[], float]


class CertificateController:
    """Call `step` until it returns a pause; `run` does so indefinitely."""

    def __init__(
        self, stores: Stores, issuer: CertificateIssuer, user: CertificateUser, spec: CertificateSpec, log: Log
    ) -> None:
        self._secret, self._publication = stores
        self._issuer = issuer
        self._user = user
        self._spec = spec
        self._log = log
        self._inspected: tuple[CertificateSet, Inspected | Broken] | None = None
        self._in_use: tuple[CertificateSet, Inspected] | None = None
        self._woken = asyncio.Event()
        self.failures = 0
        """How often something could not be read, written or issued."""
        self.is_trusted = False
        """Whether clients trust the certificate in use, according to the bundle that was read last."""

    @property
    def expires_at(self) -> float | None:
        """When the certificate in use expires, in Unix seconds."""
        return None if self._in_use is None else self._in_use[1].serving.expires_at

    def wake(self) -> None:
        """End the current pause, because something has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Keep everything in step, indefinitely."""
        failures = steps = 0
        while True:
            self._woken.clear()
            pause = 0.0
            try:
                pause = await self.step()
                failures, steps = 0, 0 if pause else steps + 1
            except (ApiUnavailableError, StoreError, IssuerError) as error:
                failures += 1
                self.failures += 1
                self._log.warning("certificates not updated", reason=str(error))
            if pause:
                await self._pause(min(pause, LONGEST_PAUSE))
            elif failures > 1 or steps > _STEPS_WITHOUT_PAUSE:
                await asyncio.sleep(random_pause(max(failures - 1, steps - _STEPS_WITHOUT_PAUSE)))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def step(self) -> float:
        """Do the next thing, if any. Return how many seconds there is nothing to do, 0 to continue at once."""
        published = await self._read_published()
        stored = await self._secret.read()
        certificates, record = stored.certificates, stored.record
        if record is not None:
            certificates = certificates._replace(bundle=only_recorded(certificates.bundle, record))
        found = await self._inspect(certificates)
        if isinstance(found, Inspected) and (record is None or stored.certificates != certificates):
            await self._write_recorded(certificates, stored)
            return 0.0
        decision = decide(
            found, frozenset(self._spec.subject.hosts), now=self._spec.clock(), lifetimes=self._spec.lifetimes
        )
        if isinstance(decision, Serve) and isinstance(found, Inspected):
            return await self._serve((certificates, found), stored, published, until=decision.until)
        if not isinstance(decision, Serve):
            await self._issue(decision, certificates, stored, published)
        return 0.0

    async def _inspect(self, certificates: CertificateSet) -> Inspected | Broken:
        if certificates == EMPTY:
            return Broken("there is no certificate yet")
        if self._inspected is None or self._inspected[0] != certificates:
            self._inspected = (certificates, await self._issuer.inspect(certificates))
        return self._inspected[1]

    async def _write_recorded(self, certificates: CertificateSet, stored: StoredSecret) -> None:
        """Create the record if it is missing; otherwise write the recorded part of the Secret."""
        record = stored.record
        if record is None:
            certificates = await self._adopt(certificates, self._bundles(await self._read_published()))
            record = record_of(certificates.bundle)
        if await self._secret.write(certificates, record, stored):
            self._log_removed("the Secret", [stored.certificates.bundle], record)

    async def _adopt(self, certificates: CertificateSet, bundles: list[bytes]) -> CertificateSet:
        """Return `certificates` with those of wisp's CAs in `bundles` that they lack."""
        if not unrecorded(bundles, tuple(fingerprints(certificates.bundle))):
            return certificates
        adopted = await self._issuer.issue(Adopt(certificates, self._spec.subject, tuple(bundles), self._spec.clock()))
        if adopted.bundle != certificates.bundle:
            self._log.info("authorities adopted")
        return adopted

    async def _issue(
        self,
        decision: AddAuthority | Renew | Replace,
        certificates: CertificateSet,
        stored: StoredSecret,
        published: Published | None,
    ) -> None:
        """Issue what was decided, and write it to the Secret."""
        now, subject, lifetimes = self._spec.clock(), self._spec.subject, self._spec.lifetimes
        request: IssueRequest
        match decision:
            case AddAuthority():
                event, reason = "authority added", ""
                request = IssueAuthority(certificates, subject, now, lifetimes.authority)
            case Renew(reason):
                event = "certificate renewed"
                request = IssueCertificate(certificates, subject, now, lifetimes.certificate)
            case Replace(reason):
                event = "certificates issued"
                predecessor = None if self._in_use is None else self._in_use[0]
                trusted = (certificates.bundle, *self._accepted_bundles(published, stored.record))
                request = IssueAll(subject, now, lifetimes.authority, lifetimes.certificate, trusted, predecessor)
            case _:
                assert_never(decision)
        issued = await self._issuer.issue(request)
        record = stored.record and record_of(issued.bundle, stored.record)
        if not await self._secret.write(issued, record, stored):
            event = "another replica was faster"
        self._log.info(event, reason=reason)

    def _bundles(self, published: Published | None) -> list[bytes]:
        """Return the bundles by which replicas, this one included, may be trusted at the moment."""
        own = [] if self._in_use is None else [self._in_use[0].bundle]
        return own if published is None else own + [bundle for _, bundle in published.bundles]

    def _accepted_bundles(self, published: Published | None, record: Record) -> list[bytes]:
        """Return the recorded part of these bundles, and the CAs that this replica serves with."""
        own = () if self._in_use is None else fingerprints(self._in_use[0].bundle)
        return [only_recorded(bundle, {*own, *(record or ())}) for bundle in self._bundles(published)]

    async def _read_published(self) -> Published | None:
        return None if self._publication is None else await self._publication.read()

    async def _serve(
        self,
        current: tuple[CertificateSet, Inspected],
        stored: StoredSecret,
        published: Published | None,
        *,
        until: float,
    ) -> float:
        """Use the certificate once its bundle is published; return the seconds until the next step."""
        certificates, found = current
        if self._publication is not None:
            if published is None or not published.bundles:
                self.is_trusted = False
                raise StoreError(f"{self._publication.place} does not exist yet, or has no place for a CA bundle")
            if not published.has_bundle(certificates.bundle):
                await self._publish(certificates, self._publication, published, stored)
                return 0.0
        used = EMPTY if self._in_use is None else self._in_use[0]
        if (used.chain, used.key) != (certificates.chain, certificates.key):
            try:
                self._user.show(certificates.chain, certificates.key)
            except SSLError as error:  # it was inspected, but OpenSSL decides
                raise IssuerError(f"the certificate cannot be used: {error.reason}") from None
            self._log.info("certificate in use", expires_at=int(found.serving.expires_at))
        self._in_use = current
        self.is_trusted = True
        return max(until - self._spec.clock(), 0.01)

    async def _publish(
        self, certificates: CertificateSet, publication: Publication, published: Published, stored: StoredSecret
    ) -> None:
        """Publish the bundle; before that, adopt accepted CAs that it lacks."""
        in_use = self._in_use
        self.is_trusted = in_use is not None and published.trusts(in_use[1].serving.issuer)
        adopted = await self._adopt(certificates, self._accepted_bundles(published, stored.record))
        if adopted.bundle != certificates.bundle:
            await self._secret.write(adopted, record_of(adopted.bundle, stored.record), stored)
        elif await publication.write(certificates.bundle, published):
            self._log.info("CA bundle written")
            self._log_removed(publication.place, [bundle for _, bundle in published.bundles], stored.record)
        else:
            self._log.info("the configuration has just changed")

    def _log_removed(self, place: str, bundles: Iterable[bytes], record: Record) -> None:
        for fingerprint in unrecorded(bundles, record):
            self._log.warning("unknown authority removed", place=place, fingerprint=fingerprint)
