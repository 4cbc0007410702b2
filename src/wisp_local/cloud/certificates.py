"""The certificate authority of a local cloud and the certificates of its server: X.509 by RFC 5280, checked strictly.

Every extension that RFC 5280 §4.2 asks of a CA or a leaf is there, since Python 3.13 (VERIFY_X509_STRICT), Go, Java and
rustls each insist on a different one. Keys are P-256: made in no time, and every client of the last decade takes them.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 397  # what browsers and macOS take at most is 398 and 825
_RENEW_DAYS = 30
_BACKDATE = timedelta(minutes=5)  # a client whose clock is a little slow
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


@dataclass(frozen=True)
class Certified:
    """A private key and its certificate, both PEM."""

    key_pem: bytes
    certificate_pem: bytes

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The certificate, parsed."""
        return x509.load_pem_x509_certificate(self.certificate_pem)

    @cached_property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The private key, parsed."""
        return cast("ec.EllipticCurvePrivateKey", serialization.load_pem_private_key(self.key_pem, password=None))


def new_authority(now: float) -> Certified:
    """Make a self-signed CA, valid for ten years from `now` (Unix seconds)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"wisp local cloud CA {x509.random_serial_number():x}"[:32])
    builder = _builder(name, name, key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    builder = builder.add_extension(
        x509.KeyUsage(**{**_NO_USE, "key_cert_sign": True, "crl_sign": True}), critical=True
    ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    return _signed(_dated(builder, now, _AUTHORITY_DAYS), key, key)


def new_server_certificate(authority: Certified, names: Iterable[str], now: float) -> Certified:
    """Make a certificate for the host names and IP addresses `names`, valid from `now` (Unix seconds)."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name("wisp local cloud"), authority.certificate.subject, key.public_key())
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**{**_NO_USE, "digital_signature": True}), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([general_name(each) for each in sorted(set(names))]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return _signed(_dated(builder, now, _SERVER_DAYS), key, authority.key)


def is_fit(server: Certified, names: Iterable[str], now: float) -> bool:
    """Tell whether `server` is for exactly `names` and will be valid for a month from `now`."""
    alternatives = server.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    expires = server.certificate.not_valid_after_utc
    fresh = _moment(now) + timedelta(days=_RENEW_DAYS) < expires and server.certificate.not_valid_before_utc <= _moment(
        now
    )
    return fresh and set(alternatives) == {general_name(each) for each in names}


def self_signed(key: rsa.RSAPrivateKey, common_name: str, now: float) -> x509.Certificate:
    """Wrap a token-signing key in a certificate, as Entra publishes its keys (x5c, x5t)."""
    name = _name(common_name)
    builder = _dated(_builder(name, name, key.public_key()), now, _AUTHORITY_DAYS)
    return builder.sign(key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public_key)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def _dated(builder: x509.CertificateBuilder, now: float, days: int) -> x509.CertificateBuilder:
    start = _moment(now)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(start - _BACKDATE).not_valid_after(start + timedelta(days=days))


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Certified:
    pem = serialization.Encoding.PEM
    key_pem = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certified(key_pem, builder.sign(signer, hashes.SHA256()).public_bytes(pem))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def general_name(name: str) -> x509.GeneralName:
    """Return the host name or IP address `name` as certificates hold it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
