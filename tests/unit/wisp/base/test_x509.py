"""Certificates as strict verifiers, TLS libraries and Kubernetes read them."""

import ipaddress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from wisp.base.constants import CLOCK_TOLERANCE
from wisp.base.x509 import (
    SERVER_AND_CLIENT,
    CertificateRequest,
    CertifiedKey,
    cross_certificate,
    issue,
    new_authority,
    private_pem,
    self_signed,
)

NOW = 1_800_000_000.0
DAY = 86400.0
AUTHORITY = new_authority("test CA", now=NOW, seconds=100 * DAY)
SERVER = issue(AUTHORITY, CertificateRequest("server", ("a.test", "127.0.0.1")), now=NOW, seconds=10 * DAY)


def verify(server: CertifiedKey, name: x509.verification.Subject, moment: float = NOW) -> None:
    """Raise VerificationError unless a strict verifier accepts the certificate for this name."""
    builder = PolicyBuilder().store(Store([AUTHORITY.certificate])).time(datetime.fromtimestamp(moment, UTC))
    builder.build_server_verifier(name).verify(server.certificate, [])


@pytest.mark.parametrize(
    "name", [x509.DNSName("a.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], ids=["host name", "address"]
)
@pytest.mark.parametrize("moment", [NOW - CLOCK_TOLERANCE, NOW + 10 * DAY], ids=["first second", "last second"])
def test_strict_verifier_accepts_the_certificate(name: x509.verification.Subject, moment: float) -> None:
    """It is valid for all its names, from shortly before its creation until its end."""
    verify(SERVER, name, moment)


@pytest.mark.parametrize("moment", [NOW - CLOCK_TOLERANCE - 1, NOW + 10 * DAY + 1], ids=["before", "after"])
def test_strict_verifier_rejects_the_certificate_outside_its_validity(moment: float) -> None:
    """A clock tolerance applies at the start."""
    with pytest.raises(VerificationError):
        verify(SERVER, x509.DNSName("a.test"), moment)


def test_certificate_does_not_outlive_its_authority() -> None:
    """A longer validity than the CA's is cut."""
    issued = issue(AUTHORITY, CertificateRequest("server", ("a.test",)), now=NOW, seconds=1000 * DAY)
    assert issued.certificate.not_valid_after_utc == AUTHORITY.certificate.not_valid_after_utc


def test_authorities_of_one_name_have_different_subjects() -> None:
    """Clients that trust both choose by subject."""
    other = new_authority("test CA", now=NOW, seconds=DAY)
    assert other.certificate.subject != AUTHORITY.certificate.subject
    assert other.certificate.subject.rfc4514_string().startswith("CN=test CA ")


def test_authority_certifies_its_successor_until_either_expires() -> None:
    """The certificate has the successor's name and key, and a shorter path length than the issuer."""
    old = new_authority("test CA", now=NOW, seconds=100 * DAY, path_length=2)
    for seconds, until in ((10 * DAY, NOW + 10 * DAY), (1000 * DAY, NOW + 100 * DAY)):
        new = new_authority("test CA", now=NOW, seconds=seconds, path_length=2)
        certificate = x509.load_pem_x509_certificate(cross_certificate(new, old, now=NOW))
        certificate.verify_directly_issued_by(old.certificate)
        issue(new, CertificateRequest("server"), now=NOW, seconds=DAY).certificate.verify_directly_issued_by(
            certificate
        )
        assert certificate.not_valid_after_utc.timestamp() == until
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (constraints.ca, constraints.path_length) == (True, 1)


def test_authority_with_path_length_zero_certifies_no_other() -> None:
    """Verifiers would reject the certificate."""
    assert cross_certificate(new_authority("test CA", now=NOW, seconds=DAY), AUTHORITY, now=NOW) == b""


def test_client_certificate_names_user_and_group() -> None:
    """Kubernetes reads the common name as the user, the organization as the group."""
    request = CertificateRequest("admin", organization="system:masters", usage=SERVER_AND_CLIENT)
    certificate = issue(AUTHORITY, request, now=NOW, seconds=DAY).certificate
    names = {attribute.oid: attribute.value for attribute in certificate.subject}
    assert names == {NameOID.COMMON_NAME: "admin", NameOID.ORGANIZATION_NAME: "system:masters"}
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_key_belongs_to_certificate_and_is_not_in_the_repr() -> None:
    """A key must not reach a log."""
    assert SERVER.key.public_key() == SERVER.certificate.public_key()
    assert "PRIVATE" not in repr(SERVER)


def test_rsa_key_is_not_a_certified_key() -> None:
    """Certificates from elsewhere may have any kind of key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(ValueError, match="not an elliptic curve key"):
        _ = CertifiedKey(private_pem(key), SERVER.certificate_pem).key
    certificate = self_signed(key, "signing", now=NOW, seconds=DAY)
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(certificate)
