"""The process that issues and inspects certificates: one question on standard input, one answer on standard output."""

import sys
from collections.abc import Iterable
from typing import assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from wisp.base.constants import CLOCK_TOLERANCE
from wisp.base.isolation import forbid_core_dumps
from wisp.base.pem import pem_blocks
from wisp.base.secret import Secret
from wisp.base.x509 import CertificateRequest, CertifiedKey, certificate_pem, cross_certificate, load_key, new_authority
from wisp.base.x509 import issue as issue_certificate
from wisp.certificates.decision import (
    Authority,
    Broken,
    CertificateSet,
    Inspected,
    ServingCertificate,
)
from wisp.certificates.issuer import (
    Adopt,
    Inspect,
    IssueAll,
    IssueAuthority,
    IssueCertificate,
    IssueRequest,
    Question,
    ReadExpiry,
    Subject,
    decode,
    encode,
)

AUTHORITY_LIMIT = 8
"""CAs of a bundle, and certificates of a chain: they must not grow if the Secret is broken again and again."""


def issue(request: IssueRequest) -> CertificateSet:
    """Return a changed set, or a new one."""
    match request:
        case IssueAll(subject, now, authority_seconds, certificate_seconds, trusted, predecessor):
            authority = _new_authority(subject, now, authority_seconds)
            bundle = authority.certificate_pem + _pem(_valid_authorities(trusted, now))
            cross = b"" if predecessor is None else _cross_certificates(predecessor, now, authority)
            serving = _serving(authority, subject, now, certificate_seconds)
            return CertificateSet(bundle, _key(authority), serving.certificate_pem + cross, _key(serving))
        case Adopt(certificates, subject, trusted, now):
            present = x509.load_pem_x509_certificates(certificates.bundle)
            valid = _valid_authorities(trusted, now)
            missing = [ca for ca in valid if ca not in present and _is_called(ca, subject.authority)]
            if not missing:
                return certificates
            return certificates._replace(bundle=_pem([*present, *missing][:AUTHORITY_LIMIT]))
        case IssueAuthority(certificates, subject, now, seconds):
            authority = _new_authority(subject, now, seconds)
            bundle = authority.certificate_pem + _pem(_valid_authorities([certificates.bundle], now))
            leaf = certificate_pem(x509.load_pem_x509_certificate(certificates.chain))
            chain = leaf + _cross_certificates(certificates, now, authority)
            return CertificateSet(bundle, _key(authority), chain, certificates.key)
        case IssueCertificate(certificates, subject, now, seconds):
            authority = _authority(certificates)
            bundle = authority.certificate_pem + _pem(_valid_authorities(pem_blocks(certificates.bundle)[1:], now))
            cross = _cross_certificates(certificates, now)
            serving = _serving(authority, subject, now, seconds)
            return CertificateSet(bundle, certificates.ca_key, serving.certificate_pem + cross, _key(serving))
        case _:
            assert_never(request)


def inspect(certificates: CertificateSet) -> Inspected | Broken:
    """Return what is in a set, if its certificates and keys belong together."""
    try:
        authorities = x509.load_pem_x509_certificates(certificates.bundle)
        serving = x509.load_pem_x509_certificates(certificates.chain)[0]
        ca_key, key = (load_key(secret.reveal().encode()) for secret in (certificates.ca_key, certificates.key))
    except ValueError as error:
        return Broken(str(error))
    if serving.public_key() != key.public_key():
        return Broken("tls.key is not the key of tls.crt")
    if not all(map(_is_authority, authorities)):
        return Broken("ca.crt contains a certificate that is not a CA's")
    if authorities[0].public_key() != ca_key.public_key():
        return Broken("ca.key is not the key of the first certificate in ca.crt")
    issuer = next((authority for authority in authorities if _is_issuer(authority, serving)), None)
    if issuer is None:
        return Broken("no CA in ca.crt has issued tls.crt")
    return Inspected(
        tuple(Authority(certificate_pem(authority), *_validity(authority)) for authority in authorities),
        ServingCertificate(certificate_pem(issuer), _host_names(serving), *_validity(serving)),
    )


def expiry(chain: bytes) -> float | Broken:
    """Return when the first certificate of `chain` (PEM) expires, in Unix seconds."""
    try:
        return x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc.timestamp()
    except ValueError as error:
        return Broken(str(error))


def _new_authority(subject: Subject, now: float, seconds: float) -> CertifiedKey:
    return new_authority(subject.authority, now=now, seconds=seconds, path_length=AUTHORITY_LIMIT)


def _authority(certificates: CertificateSet) -> CertifiedKey:
    """Return the newest CA of a set, and its key."""
    newest = x509.load_pem_x509_certificate(certificates.bundle)
    return CertifiedKey(certificates.ca_key.reveal().encode(), certificate_pem(newest))


def _cross_certificates(certificates: CertificateSet, now: float, successor: CertifiedKey | None = None) -> bytes:
    """Return the certificates, the newest first, by which clients that trust only an older CA trust a newer one.

    They are those of a set that have not expired, and, for a successor of its CA, a new one.
    """
    new = b"" if successor is None else cross_certificate(successor, _authority(certificates), now=now)
    return _pem(_valid_authorities([new, *pem_blocks(certificates.chain)[1:]], now))


def _serving(authority: CertifiedKey, subject: Subject, now: float, seconds: float) -> CertifiedKey:
    request = CertificateRequest(subject.common_name, subject.hosts)
    return issue_certificate(authority, request, now=now, seconds=seconds)


def _key(certified: CertifiedKey) -> Secret:
    return Secret(certified.key_pem.decode())


def _valid_authorities(bundles: Iterable[bytes], now: float) -> list[x509.Certificate]:
    """Return the CAs in `bundles` that have not expired, without duplicates; what cannot be parsed is skipped."""
    found: dict[bytes, x509.Certificate] = {}
    for bundle in bundles:
        for block in pem_blocks(bundle):
            try:
                certificate = x509.load_pem_x509_certificate(block)
            except ValueError:
                continue
            if _is_authority(certificate) and certificate.not_valid_after_utc.timestamp() > now:
                found.setdefault(certificate.fingerprint(hashes.SHA256()), certificate)
    return list(found.values())[: AUTHORITY_LIMIT - 1]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _is_issuer(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_called(certificate: x509.Certificate, prefix: str) -> bool:
    """Return whether a certificate's common name begins with `prefix`."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return any(str(name.value).startswith(prefix) for name in names)


def _host_names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(alternatives.get_values_for_type(x509.DNSName))


def _validity(certificate: x509.Certificate) -> tuple[float, float]:
    """Return when a certificate was issued and when it expires, in Unix seconds."""
    issued_at = certificate.not_valid_before_utc.timestamp() + CLOCK_TOLERANCE
    return issued_at, certificate.not_valid_after_utc.timestamp()


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(map(certificate_pem, certificates))


def main() -> None:
    """Answer one question."""
    forbid_core_dumps()
    question: Question = decode(sys.stdin.buffer.read(), Question)
    match question:
        case Inspect(certificates):
            answer: object = inspect(certificates)
        case ReadExpiry(chain):
            answer = expiry(chain)
        case _:
            answer = issue(question)
    sys.stdout.buffer.write(encode(answer))


if __name__ == "__main__":
    main()
