"""Makes and examines the webhook's certificates (X.509, RFC 5280), in a process of its own: see `child`.

Keys are P-256. `now` is Unix seconds. What is found is told as plain values (`wisp.webhook.certificates.certificate`).
"""

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wisp.base.constants import CLOCK_TOLERANCE
from wisp.base.secret import Secret
from wisp.base.x509 import CertificateRequest, CertifiedKey, certificate_pem, issue, new_authority
from wisp.webhook.certificates.certificate import Authority, Broken, Facts, Kept, Leaf, blocks

_AUTHORITY_NAME = "wisp webhook CA"
_LEAF_NAME = "wisp webhook"
MOST = 8
"""Authorities of a bundle: whoever breaks the Secret again and again must not make it grow for ever."""


def examine(kept: Kept) -> Facts | Broken:
    """Say what `kept` is, having checked that its parts belong together."""
    try:
        authorities = _certificates(kept.bundle)
        key = _key(kept.authority_key)
        chain = _certificates(kept.chain)
        leaf_key = _key(kept.key)
    except ValueError as error:
        return Broken(str(error))
    leaf = chain[0]
    if not _pair(leaf, leaf_key):
        return Broken("tls.key is not the key of tls.crt")
    if not all(_is_authority(each) for each in authorities):
        return Broken("ca.crt holds a certificate that is no authority's")
    if not _pair(authorities[0], key):
        return Broken("ca.key is not the key of the first certificate in ca.crt")
    issuer = next((each for each in authorities if _issued(each, leaf)), None)
    if issuer is None:
        return Broken("no authority in ca.crt has issued tls.crt")
    return Facts(tuple(_authority(each) for each in authorities), _leaf(leaf, certificate_pem(issuer)))


def make(
    names: Sequence[str], *, now: float, authority_seconds: float, leaf_seconds: float, trusted: Iterable[bytes] = ()
) -> Kept:
    """Make an authority and a certificate for `names`; authorities in `trusted` (PEM) stay in the bundle."""
    own = new_authority(_AUTHORITY_NAME, now=now, seconds=authority_seconds)
    bundle = own.certificate_pem + _bundle(_salvaged(trusted, now))
    leaf = issue(own, CertificateRequest(_LEAF_NAME, names), now=now, seconds=leaf_seconds)
    return Kept(bundle, _secret(own), leaf.certificate_pem, _secret(leaf))


def adopt(kept: Kept, trusted: Iterable[bytes], *, now: float) -> Kept:
    """Put what `trusted` holds of authorities made here behind those in the bundle, if there is any."""
    ours = _certificates(kept.bundle)
    more = [each for each in _salvaged(trusted, now) if each not in ours and _is_made_here(each)]
    return kept._replace(bundle=_bundle([*ours, *more][:MOST])) if more else kept


def announce(kept: Kept, *, now: float, seconds: float) -> Kept:
    """Put a new authority before those in the bundle; the certificate stays what it is."""
    own = new_authority(_AUTHORITY_NAME, now=now, seconds=seconds)
    bundle = own.certificate_pem + _bundle(_salvaged([kept.bundle], now))
    return kept._replace(bundle=bundle, authority_key=_secret(own))


def renew(kept: Kept, names: Sequence[str], *, now: float, seconds: float) -> Kept:
    """Issue a new certificate by the first authority; those that have run out leave the bundle."""
    first, *rest = _certificates(kept.bundle)
    own = _certified(kept.authority_key, first)
    leaf = issue(own, CertificateRequest(_LEAF_NAME, names), now=now, seconds=seconds)
    bundle = _bundle([first, *_salvaged([certificate_pem(each) for each in rest], now)])
    return Kept(bundle, kept.authority_key, leaf.certificate_pem, _secret(leaf))


def expiry(chain: bytes) -> float:
    """Return when the first certificate of `chain` (PEM) ends, in Unix seconds. Raise ValueError."""
    return _certificates(chain)[0].not_valid_after_utc.timestamp()


def _salvaged(bundles: Iterable[bytes], now: float) -> list[x509.Certificate]:
    """Return the authorities in `bundles` that are not past, once each; what cannot be read is passed over."""
    found: dict[bytes, x509.Certificate] = {}
    for bundle in bundles:
        for block in blocks(bundle):
            try:
                certificate = x509.load_pem_x509_certificate(block)
            except ValueError:
                continue
            if _is_authority(certificate) and certificate.not_valid_after_utc.timestamp() > now:
                found.setdefault(certificate.fingerprint(hashes.SHA256()), certificate)
    return list(found.values())[: MOST - 1]


def _certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def _key(secret: Secret) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(secret.reveal().encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("a key is not an elliptic curve's")  # noqa: TRY004 -- of what was read, not of ours
    return key


def _certified(key: Secret, certificate: x509.Certificate) -> CertifiedKey:
    return CertifiedKey(key.reveal().encode(), certificate_pem(certificate))


def _secret(made: CertifiedKey) -> Secret:
    return Secret(made.key_pem.decode())


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    return certificate.public_key() == key.public_key()


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _issued(authority: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_made_here(certificate: x509.Certificate) -> bool:
    """Tell by its name: whatever else somebody puts into the configuration is not to stay there."""
    return any(
        str(each.value).startswith(_AUTHORITY_NAME)
        for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def _authority(certificate: x509.Certificate) -> Authority:
    return Authority(certificate_pem(certificate), _issued_at(certificate), certificate.not_valid_after_utc.timestamp())


def _leaf(certificate: x509.Certificate, issuer: bytes) -> Leaf:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = frozenset(alternatives.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = frozenset()
    return Leaf(issuer, names, _issued_at(certificate), certificate.not_valid_after_utc.timestamp())


def _issued_at(certificate: x509.Certificate) -> float:
    return certificate.not_valid_before_utc.timestamp() + CLOCK_TOLERANCE


def _bundle(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(certificate_pem(each) for each in certificates)
