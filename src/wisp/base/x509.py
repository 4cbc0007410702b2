"""Issue X.509 certificates that strict verifiers accept (RFC 5280 §4.2).

Python 3.13 (VERIFY_X509_STRICT), Go, Java and rustls each require different extensions; certificates made here have all
of them. Keys are P-256: they are generated fast, and every TLS library supports them. `now` is Unix seconds.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wisp.base.constants import CLOCK_TOLERANCE

SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
SERVER_AND_CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_LONGEST_NAME = 32


@dataclass(frozen=True)
class CertifiedKey:
    """A P-256 private key (PKCS #8) and its certificate, both PEM."""

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The parsed certificate. Raise ValueError if it cannot be parsed."""
        return x509.load_pem_x509_certificate(self.certificate_pem)

    @cached_property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The parsed private key. Raise ValueError if it cannot be parsed or is not an elliptic curve key."""
        return load_key(self.key_pem)


@dataclass(frozen=True)
class CertificateRequest:
    """What a certificate is issued for: host names or IP addresses; Kubernetes reads the organization as a group."""

    common_name: str
    hosts: Iterable[str] = ()
    organization: str = ""
    usage: x509.ExtendedKeyUsage = SERVER


def new_authority(common_name: str, *, now: float, seconds: float, path_length: int = 0) -> CertifiedKey:
    """Make a self-signed CA, valid for `seconds`. A random suffix makes its name unique.

    Clients that trust two CAs of the same name may try the wrong one's key. `path_length` is how many CAs may be
    between it and a server's certificate: with 1, its successor (`cross_certificate`).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{common_name} {x509.random_serial_number():x}"[:_LONGEST_NAME])
    builder = _builder(name, name, key.public_key(), now, now + seconds)
    return _certified(key, _authority_extensions(builder, key.public_key(), path_length=path_length), key)


def cross_certificate(authority: CertifiedKey, issuer: CertifiedKey, *, now: float) -> bytes:
    """Certify a CA by another CA, so that clients which trust only the other one trust both; return PEM.

    It is valid until the first of the two expires. Return nothing if the issuer's path length does not permit it
    (RFC 5280 §4.2.1.9): verifiers would reject it.
    """
    limit = issuer.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    if limit == 0:
        return b""
    until = min(certified.certificate.not_valid_after_utc for certified in (authority, issuer)).timestamp()
    subject, key = authority.certificate.subject, authority.key.public_key()
    builder = _builder(subject, issuer.certificate.subject, key, now, until)
    builder = _authority_extensions(builder, issuer.key.public_key(), path_length=limit and limit - 1)
    return certificate_pem(builder.sign(issuer.key, hashes.SHA256()))


def issue(authority: CertifiedKey, request: CertificateRequest, *, now: float, seconds: float) -> CertifiedKey:
    """Issue a certificate with a new key, valid for `seconds` but not longer than the CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + seconds, authority.certificate.not_valid_after_utc.timestamp())
    name = _name(request.common_name, request.organization)
    builder = _builder(name, authority.certificate.subject, key.public_key(), now, until)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(request.usage, critical=False).add_extension(issuer, critical=False)
    hosts = sorted(set(request.hosts))
    if hosts:
        names = x509.SubjectAlternativeName([general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return _certified(key, builder, authority.key)


def self_signed(key: rsa.RSAPrivateKey, common_name: str, *, now: float, seconds: float) -> x509.Certificate:
    """Wrap an RSA signing key in a certificate, for JSON Web Keys with `x5c` and `x5t` (RFC 7517 §4.7)."""
    name = _name(common_name)
    return _builder(name, name, key.public_key(), now, now + seconds).sign(key, hashes.SHA256())


def general_name(host: str) -> x509.GeneralName:
    """Return a host name or IP address in the form of a subject alternative name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Parse a private key. Raise ValueError if it cannot be parsed or is not an elliptic curve key."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not an elliptic curve key")  # noqa: TRY004 -- it is about data, not our types
    return key


def private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return the unencrypted PKCS #8 form, which Kubernetes, OpenSSL and Go read for either kind of key."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    """Return the SubjectPublicKeyInfo form."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def _authority_extensions(
    builder: x509.CertificateBuilder, issuer: ec.EllipticCurvePublicKey, *, path_length: int | None
) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)


def _certified(
    key: ec.EllipticCurvePrivateKey, builder: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey
) -> CertifiedKey:
    return CertifiedKey(private_pem(key), certificate_pem(builder.sign(signer, hashes.SHA256())))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, now: float, until: float
) -> x509.CertificateBuilder:
    start, end = (datetime.fromtimestamp(int(moment), UTC) for moment in (now - CLOCK_TOLERANCE, until))
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _name(common_name: str, organization: str = "") -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
