"""Decide what to do about a server's certificates. Pure: times are arguments, in Unix seconds.

A Secret holds the CAs that clients trust (`bundle`, the newest first), the key of the newest CA, and a certificate with
its key. A new CA is added to the bundle first. It issues its first certificate when API servers have had time to load
the bundle; the old CA stays in the bundle until it expires. So whichever version of the Secret a replica serves, the
bundles of that version and of every later one verify its certificate.

Pods keep the bundle that they were created with. For them, the old CA certifies the new one, and this cross certificate
is served with the certificate (in `chain`). So the bundles of earlier versions verify it, too, until their CAs expire.
"""

import base64
import binascii
from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import NamedTuple, TypeAlias

import msgspec

from wisp.base.constants import CLOCK_TOLERANCE, PEM_BEGIN, PEM_END
from wisp.base.pem import pem_blocks
from wisp.base.secret import Secret

RECORD_LIMIT = 64
"""Fingerprints in a record: more than the CAs of a bundle, since a CA that was dropped may still be in use."""

_RENEW_AFTER = 2 / 3
"""Share of its life after which a certificate or CA is renewed."""
_LAST_SHARE = 0.05
"""Share of its life in which a certificate no longer waits for a new CA to be loaded."""

Record: TypeAlias = tuple[str, ...] | None
"""SHA-256 fingerprints, in hexadecimal, of the CAs that are accepted, the newest first.

None: there is no record yet, or it was lost with the Secret.
"""


class CertificateSet(NamedTuple):
    """The certificates and keys of the Secret, as PEM."""

    bundle: bytes
    ca_key: Secret
    chain: bytes
    key: Secret


EMPTY = CertificateSet(b"", Secret(""), b"", Secret(""))


class Authority(NamedTuple):
    """A CA of the bundle."""

    pem: bytes
    issued_at: float
    expires_at: float


class ServingCertificate(NamedTuple):
    """The certificate that is served; `issuer` is the PEM of the CA that issued it."""

    issuer: bytes
    names: frozenset[str]
    issued_at: float
    expires_at: float


class Inspected(msgspec.Struct, frozen=True, tag=True):
    """A set whose certificates and keys belong together. The key of the first CA is in the set."""

    authorities: tuple[Authority, ...]
    serving: ServingCertificate


class Broken(msgspec.Struct, frozen=True, tag=True):
    """A set whose certificates or keys are missing, cannot be parsed or do not belong together."""

    reason: str


class Lifetimes(NamedTuple):
    """Validity of new CAs and certificates, in seconds."""

    authority: float = 10 * 365 * 86400.0
    certificate: float = 90 * 86400.0

    @property
    def settling(self) -> float:
        """Seconds for API servers to load a new CA: ten minutes, less if certificates are short-lived."""
        return min(600.0, self.certificate / 20)


class Serve(NamedTuple):
    """Serve the certificate; decide again at `until` at the latest."""

    until: float


class AddAuthority(NamedTuple):
    """Add a new CA to the bundle."""


class Renew(NamedTuple):
    """Issue a new certificate."""

    reason: str


class Replace(NamedTuple):
    """Make a new CA and a new certificate; CAs that were trusted stay in the bundle."""

    reason: str


Decision: TypeAlias = Serve | AddAuthority | Renew | Replace


def decide(found: Inspected | Broken, names: frozenset[str], *, now: float, lifetimes: Lifetimes) -> Decision:
    """Decide what to do so that a valid certificate for `names` is served at all times."""
    if isinstance(found, Broken):
        return Replace(found.reason)
    newest, serving = found.authorities[0], found.serving
    if newest.expires_at <= now:
        return Replace("the CA has expired")
    if newest.issued_at > now + CLOCK_TOLERANCE or serving.issued_at > now + CLOCK_TOLERANCE:
        return Replace("it is not valid yet")
    if now >= _renewal(newest.issued_at, newest.expires_at):
        return AddAuthority()
    if not names <= serving.names:
        return Renew("it does not have the service's names")
    due = _renewal(serving.issued_at, serving.expires_at)
    if serving.issuer != newest.pem:  # the next certificate is the first one of a new CA
        last = serving.expires_at - _LAST_SHARE * (serving.expires_at - serving.issued_at)
        due = min(max(due, newest.issued_at + lifetimes.settling), last)
    return Renew("it is due") if now >= due else Serve(due)


def _renewal(issued_at: float, expires_at: float) -> float:
    return issued_at + (expires_at - issued_at) * _RENEW_AFTER


def fingerprints(bundle: bytes) -> dict[str, bytes]:
    """Return the certificates of PEM text by SHA-256 fingerprint. Blocks that are not base64 are dropped."""
    found = {}
    for block in pem_blocks(bundle):
        _, _, text = block.removesuffix(PEM_END.encode()).partition(PEM_BEGIN.encode())
        try:
            found[sha256(base64.b64decode(b"".join(text.split()), validate=True)).hexdigest()] = block
        except binascii.Error:
            continue
    return found


def unrecorded(bundles: Iterable[bytes], record: Record) -> set[str]:
    """Return the fingerprints of the certificates in `bundles` that are not in `record`."""
    return {fingerprint for bundle in bundles for fingerprint in fingerprints(bundle)}.difference(record or ())


def only_recorded(bundle: bytes, record: Collection[str]) -> bytes:
    """Return the certificates of `bundle` that are in `record`."""
    return b"".join(block + b"\n" for fingerprint, block in fingerprints(bundle).items() if fingerprint in record)


def record_of(bundle: bytes, record: Record = None) -> tuple[str, ...]:
    """Return `record` with the certificates of `bundle` before it."""
    return tuple(dict.fromkeys([*fingerprints(bundle), *(record or ())]))[:RECORD_LIMIT]
