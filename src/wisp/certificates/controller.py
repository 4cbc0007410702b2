"""Keep certificate, Secret and webhook configuration in step: read them, let `decision` decide, and act on it.

Replicas need no leader. A write succeeds only for the version that was read, so of two concurrent writes one fails, and
its replica reads what the other wrote. The configuration is read before the Secret and patched for that version only,
so a bundle can never be replaced by the bundle of an older Secret. A certificate is used only when, read in this order,
the configuration had the bundle of the Secret.

The Secret holds a record of the CAs that are accepted, by fingerprint. Others are removed from Secret and
configuration. If the Secret is lost, the record is lost with it, and a replica may be serving with a CA that another
replica knows only from the configuration. Therefore a new Secret is first written without a record; then the
configuration is read, and the CAs in it that have the webhook's name are adopted, together with the record. What is in
use when the Secret is lost was in the configuration before, so it is among them.
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
)
from wisp.certificates.store import StoredSecret, StoreError, WebhookConfiguration
from wisp.kubernetes.types import ApiUnavailableError
from wisp.kubernetes.watch import random_pause

LONGEST_PAUSE = 300.0
"""Seconds after which everything is read again, whether or not a watch has reported a change."""
_STEPS_WITHOUT_PAUSE = 4
"""Steps that may follow each other: a certificate, its record, the bundle, and another replica's write."""


class Store(Protocol):
    """Where the certificates are stored; see `wisp.certificates.store`."""

    async def read_secret(self) -> StoredSecret:
        """Read the Secret."""

    async def write_secret(self, certificates: CertificateSet, record: Record, before: StoredSecret) -> bool:
        """Write the Secret; return False if it is not as it was read."""

    async def read_configuration(self) -> WebhookConfiguration | None:
        """Read the configuration; return None if it does not exist."""

    async def write_bundle(self, bundle: bytes, before: WebhookConfiguration) -> bool:
        """Give every webhook the bundle; return False if the configuration is not as it was read."""


class CertificateUser(Protocol):
    """What presents the certificate to new connections."""

    def show(self, chain: bytes, key: Secret) -> None:
        """Use this certificate from now on. Raise ssl.SSLError if it cannot be used."""


class CertificateSpec(NamedTuple):
    """The names and lifetimes of certificates, and a clock (Unix seconds)."""

    names: frozenset[str]
    lifetimes: Lifetimes
    clock: Callable[[], float]


class CertificateController:
    """Call `step` until it returns a pause; `run` does so indefinitely."""

    def __init__(
        self, store: Store, issuer: CertificateIssuer, user: CertificateUser, spec: CertificateSpec, log: Log
    ) -> None:
        self._store = store
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
        """Whether API servers trust the certificate in use, according to the configuration that was read last."""

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
        configuration = await self._store.read_configuration()
        stored = await self._store.read_secret()
        certificates, record = stored.certificates, stored.record
        if record is not None:
            certificates = certificates._replace(bundle=only_recorded(certificates.bundle, record))
        found = await self._inspect(certificates)
        if isinstance(found, Inspected) and (record is None or stored.certificates != certificates):
            await self._write_recorded(certificates, stored)
            return 0.0
        decision = decide(found, self._spec.names, now=self._spec.clock(), lifetimes=self._spec.lifetimes)
        if isinstance(decision, Serve) and isinstance(found, Inspected):
            return await self._serve((certificates, found), stored, configuration, until=decision.until)
        if not isinstance(decision, Serve):
            await self._issue(decision, certificates, stored, configuration)
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
            certificates = await self._adopt(certificates, self._bundles(await self._store.read_configuration()))
            record = record_of(certificates.bundle)
        if await self._store.write_secret(certificates, record, stored):
            self._log_removed("the Secret", [stored.certificates.bundle], record)

    async def _adopt(self, certificates: CertificateSet, bundles: list[bytes]) -> CertificateSet:
        """Return `certificates` with those of the webhook's CAs in `bundles` that they lack."""
        if not unrecorded(bundles, tuple(fingerprints(certificates.bundle))):
            return certificates
        adopted = await self._issuer.issue(Adopt(certificates, tuple(bundles), self._spec.clock()))
        if adopted.bundle != certificates.bundle:
            self._log.info("authorities adopted")
        return adopted

    async def _issue(
        self,
        decision: AddAuthority | Renew | Replace,
        certificates: CertificateSet,
        stored: StoredSecret,
        configuration: WebhookConfiguration | None,
    ) -> None:
        """Issue what was decided, and write it to the Secret."""
        now, names, lifetimes = self._spec.clock(), tuple(sorted(self._spec.names)), self._spec.lifetimes
        request: IssueRequest
        match decision:
            case AddAuthority():
                event, reason = "authority added", ""
                request = IssueAuthority(certificates, now, lifetimes.authority)
            case Renew(reason):
                event = "certificate renewed"
                request = IssueCertificate(certificates, names, now, lifetimes.certificate)
            case Replace(reason):
                event = "certificates issued"
                trusted = (certificates.bundle, *self._accepted_bundles(configuration, stored.record))
                request = IssueAll(names, now, lifetimes.authority, lifetimes.certificate, trusted)
            case _:
                assert_never(decision)
        issued = await self._issuer.issue(request)
        record = stored.record and record_of(issued.bundle, stored.record)
        if not await self._store.write_secret(issued, record, stored):
            event = "another replica was faster"
        self._log.info(event, reason=reason)

    def _bundles(self, configuration: WebhookConfiguration | None) -> list[bytes]:
        """Return the bundles by which replicas, this one included, may be trusted at the moment."""
        own = [] if self._in_use is None else [self._in_use[0].bundle]
        return own if configuration is None else own + configuration.bundles

    def _accepted_bundles(self, configuration: WebhookConfiguration | None, record: Record) -> list[bytes]:
        """Return the recorded part of these bundles, and the CAs that this replica serves with."""
        own = () if self._in_use is None else fingerprints(self._in_use[0].bundle)
        return [only_recorded(bundle, {*own, *(record or ())}) for bundle in self._bundles(configuration)]

    async def _serve(
        self,
        current: tuple[CertificateSet, Inspected],
        stored: StoredSecret,
        configuration: WebhookConfiguration | None,
        *,
        until: float,
    ) -> float:
        """Use the certificate once the configuration has its bundle; return the seconds until the next step."""
        if configuration is None or not configuration.webhooks:
            self.is_trusted = False
            raise StoreError("the MutatingWebhookConfiguration does not exist yet, or has no webhook")
        certificates, found = current
        if not configuration.has_bundle(certificates.bundle):
            await self._write_bundle(certificates, configuration, stored)
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

    async def _write_bundle(
        self, certificates: CertificateSet, configuration: WebhookConfiguration, stored: StoredSecret
    ) -> None:
        """Write the bundle to the configuration; before that, adopt accepted CAs that it lacks."""
        in_use = self._in_use
        self.is_trusted = in_use is not None and configuration.trusts(in_use[1].serving.issuer)
        adopted = await self._adopt(certificates, self._accepted_bundles(configuration, stored.record))
        if adopted.bundle != certificates.bundle:
            await self._store.write_secret(adopted, record_of(adopted.bundle, stored.record), stored)
        elif await self._store.write_bundle(certificates.bundle, configuration):
            self._log.info("CA bundle written")
            self._log_removed("the MutatingWebhookConfiguration", configuration.bundles, stored.record)
        else:
            self._log.info("the configuration has just changed")

    def _log_removed(self, place: str, bundles: Iterable[bytes], record: Record) -> None:
        for fingerprint in unrecorded(bundles, record):
            self._log.warning("unknown authority removed", place=place, fingerprint=fingerprint)
