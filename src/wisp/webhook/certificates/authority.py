"""Makes and examines the webhook's certificates (X.509, RFC 5280), in a process of its own: see `child`.

Keys are P-256. `now` is Unix seconds. What is found is told as plain values (`wisp.webhook.certificates.certificate`).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wisp.base.secret import Secret
from wisp.webhook.certificates.certificate import BACKDATE, Authority, Broken, Facts, Kept, Leaf, blocks

_NO_USE = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)

_AUTHORITY_NAME = "wisp webhook CA"
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
    return Facts(tuple(_authority(each) for each in authorities), _leaf(leaf, _pem(issuer)))


def make(
    names: Sequence[str], *, now: float, authority_seconds: float, leaf_seconds: float, trusted: Iterable[bytes] = ()
) -> Kept:
    """Make an authority and a certificate for `names`; authorities in `trusted` (PEM) stay in the bundle."""
    key, certificate = _new_authority(now, authority_seconds)
    bundle = _bundle([certificate, *_salvaged(trusted, now)])
    chain, leaf_key = _new_leaf(certificate, key, names, now, leaf_seconds)
    return Kept(bundle, _secret(key), chain, leaf_key)


def adopt(kept: Kept, trusted: Iterable[bytes], *, now: float) -> Kept:
    """Put what `trusted` holds of authorities made here behind those in the bundle, if there is any."""
    ours = _certificates(kept.bundle)
    more = [each for each in _salvaged(trusted, now) if each not in ours and _is_made_here(each)]
    return kept._replace(bundle=_bundle([*ours, *more][:MOST])) if more else kept


def announce(kept: Kept, *, now: float, seconds: float) -> Kept:
    """Put a new authority before those in the bundle; the certificate stays what it is."""
    key, certificate = _new_authority(now, seconds)
    return kept._replace(bundle=_bundle([certificate, *_salvaged([kept.bundle], now)]), authority_key=_secret(key))


def renew(kept: Kept, names: Sequence[str], *, now: float, seconds: float) -> Kept:
    """Issue a new certificate by the first authority; those that have run out leave the bundle."""
    first, *rest = _certificates(kept.bundle)
    chain, key = _new_leaf(first, _key(kept.authority_key), names, now, seconds)
    bundle = _bundle([first, *_salvaged([_pem(each) for each in rest], now)])
    return Kept(bundle, kept.authority_key, chain, key)


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


def _secret(key: ec.EllipticCurvePrivateKey) -> Secret:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(pem.decode())


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
    return Authority(_pem(certificate), _issued_at(certificate), certificate.not_valid_after_utc.timestamp())


def _leaf(certificate: x509.Certificate, issuer: bytes) -> Leaf:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = frozenset(alternatives.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = frozenset()
    return Leaf(issuer, names, _issued_at(certificate), certificate.not_valid_after_utc.timestamp())


def _issued_at(certificate: x509.Certificate) -> float:
    return certificate.not_valid_before_utc.timestamp() + BACKDATE


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _bundle(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(_pem(each) for each in certificates)


def _new_authority(now: float, seconds: float) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    # No two authorities share a name, or clients would try the wrong one's key.
    name = _name(f"{_AUTHORITY_NAME} {x509.random_serial_number():x}"[:32])
    builder = _builder(name, name, key.public_key(), now, now + seconds)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(
        x509.KeyUsage(**{**_NO_USE, "key_cert_sign": True, "crl_sign": True}), critical=True
    )
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    return key, builder.sign(key, hashes.SHA256())


def _new_leaf(
    authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey, names: Sequence[str], now: float, seconds: float
) -> tuple[bytes, Secret]:
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + seconds, authority.not_valid_after_utc.timestamp())
    builder = _builder(_name("wisp webhook"), authority.subject, key.public_key(), now, until)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**{**_NO_USE, "digital_signature": True}), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([x509.DNSName(each) for each in sorted(set(names))]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return _pem(builder.sign(signer, hashes.SHA256())), _secret(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: float, until: float
) -> x509.CertificateBuilder:
    start, end = (datetime.fromtimestamp(int(each), UTC) for each in (now, until))
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(start - timedelta(seconds=BACKDATE)).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
