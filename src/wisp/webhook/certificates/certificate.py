"""Decides what is to be done about the webhook's certificates. Knows no cryptography, no API server and no clock.

What is kept, in a Secret: the authorities that API servers trust (`bundle`, the newest first), the newest one's key,
and a certificate with its key. Times are Unix seconds. A new authority is announced in the bundle first, and issues its
first certificate when all API servers have had time to hear of it; the old one stays until it ends. So whichever state
of the Secret a replica serves, the bundle of that state and of every later one verifies it.
"""

import base64
import binascii
from collections.abc import Collection
from hashlib import sha256
from typing import NamedTuple, TypeAlias

from wisp.base.constants import CLOCK_TOLERANCE
from wisp.base.secret import Secret

_RENEWED_AFTER = 2 / 3
_LAST = 0.05
"""Share of a certificate's life that is too little to wait for anything in."""


class Kept(NamedTuple):
    """What is kept, as PEM."""

    bundle: bytes
    authority_key: Secret
    chain: bytes
    key: Secret


class Authority(NamedTuple):
    """An authority of the bundle."""

    pem: bytes
    issued_at: float
    expires_at: float


class Leaf(NamedTuple):
    """The certificate that is served, and who has issued it."""

    issuer: bytes
    names: frozenset[str]
    issued_at: float
    expires_at: float


class Facts(NamedTuple):
    """What is known of `Kept` parts that belong together; the first authority is the one whose key is kept."""

    authorities: tuple[Authority, ...]
    leaf: Leaf


class Broken(NamedTuple):
    """The parts are missing, unreadable or do not belong together."""

    reason: str


class Lives(NamedTuple):
    """How long things are made to last, in seconds, and how long API servers have to hear of a new authority."""

    authority: float = 10 * 365 * 86400.0
    leaf: float = 90 * 86400.0

    @property
    def settling(self) -> float:
        """Ten minutes, or less where nothing lives long."""
        return min(600.0, self.leaf / 20)


class Serve(NamedTuple):
    """Serve what is kept, and look again at `until` at the latest."""

    until: float


class Announce(NamedTuple):
    """Put a new authority into the bundle."""


class Renew(NamedTuple):
    """Have a new certificate issued."""

    reason: str


class Repair(NamedTuple):
    """Make everything anew, and keep trusting what was trusted."""

    reason: str


Decision: TypeAlias = Serve | Announce | Renew | Repair


def decide(facts: Facts | Broken, names: frozenset[str], *, now: float, lives: Lives) -> Decision:
    """Say what is to be done with what is kept so that `names` stay served."""
    if isinstance(facts, Broken):
        return Repair(facts.reason)
    newest, leaf = facts.authorities[0], facts.leaf
    if newest.expires_at <= now:
        return Repair("the authority has expired")
    if newest.issued_at > now + CLOCK_TOLERANCE or leaf.issued_at > now + CLOCK_TOLERANCE:
        return Repair("it is not valid yet")
    if now >= _renewal(newest.issued_at, newest.expires_at):
        return Announce()
    return _about(leaf, names, now=now, settled_at=newest.issued_at + lives.settling, own=leaf.issuer == newest.pem)


def _about(leaf: Leaf, names: frozenset[str], *, now: float, settled_at: float, own: bool) -> Serve | Renew:
    if not names <= leaf.names:
        return Renew("it is not for the service's names")
    due = _renewal(leaf.issued_at, leaf.expires_at)
    if not own:  # the next one is the first of a new authority
        last = leaf.expires_at - _LAST * (leaf.expires_at - leaf.issued_at)
        due = min(max(due, settled_at), last)
    return Renew("it is due") if now >= due else Serve(due)


def _renewal(issued_at: float, expires_at: float) -> float:
    return issued_at + (expires_at - issued_at) * _RENEWED_AFTER


RECORD_LIMIT = 64
"""Fingerprints of a record: more than the authorities of a bundle, since one that is dropped may still be in use."""

Record: TypeAlias = tuple[str, ...] | None
"""SHA-256 fingerprints, in hexadecimal, of the authorities that the webhook accepts, the newest first.

None: there is no record yet, or it was lost with the Secret.
"""


def blocks(bundle: bytes) -> list[bytes]:
    """Split PEM text into certificates, whether or not they can be read; what is between them is dropped."""
    end = b"-----END CERTIFICATE-----"
    return [block[block.find(b"-----BEGIN") :] + end for block in bundle.split(end)[:-1] if b"-----BEGIN" in block]


def fingerprints(bundle: bytes) -> dict[str, bytes]:
    """Return the certificates of PEM text by their SHA-256 fingerprints; a block that is not base64 is dropped."""
    found = {}
    for block in blocks(bundle):
        _, _, text = block.removesuffix(b"-----END CERTIFICATE-----").partition(b"-----BEGIN CERTIFICATE-----")
        try:
            found[sha256(base64.b64decode(b"".join(text.split()), validate=True)).hexdigest()] = block
        except binascii.Error:
            continue
    return found


def accepted(bundle: bytes, record: Collection[str]) -> bytes:
    """Return `bundle` without anything but the certificates in `record`."""
    return b"".join(block + b"\n" for each, block in fingerprints(bundle).items() if each in record)


def recorded(bundle: bytes, record: Record = None) -> Record:
    """Return `record` with the certificates of `bundle` at its head."""
    return tuple(dict.fromkeys([*fingerprints(bundle), *(record or ())]))[:RECORD_LIMIT]


def in_place(bundle: bytes, issuer: bytes) -> bool:
    """Tell whether API servers that trust `bundle` take a certificate of `issuer`, an authority in PEM."""
    return issuer.strip() in bundle
