"""The cluster's certificates and their subjects, checked as TLS libraries do."""

from collections.abc import Mapping

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wisp_local.lab.node.network import Network
from wisp_local.lab.node.pki import new_files, subjects

NOW = 1_800_000_000.0
NETWORK = Network(3)


@pytest.fixture(name="files", scope="module")
def _files() -> Mapping[str, bytes]:
    return new_files(NETWORK, NOW)


def _certificate(files: Mapping[str, bytes], name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files[f"{name}.crt"])


@pytest.mark.parametrize("name", subjects(NETWORK))
def test_every_certificate_is_signed_by_the_ca_and_has_its_key(files: Mapping[str, bytes], name: str) -> None:
    """It is for both ends of a connection."""
    found = _certificate(files, name)
    found.verify_directly_issued_by(_certificate(files, "ca"))
    key = serialization.load_pem_private_key(files[f"{name}.key"], password=None)
    assert key.public_key() == found.public_key()
    usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


@pytest.mark.parametrize(
    "name, user, group",
    [
        ("admin", "admin", "system:masters"),
        ("kubelet", "system:node:node1", "system:nodes"),
        ("kube-proxy", "system:kube-proxy", ""),
    ],
)
def test_subject_names_user_and_group(files: Mapping[str, bytes], name: str, user: str, group: str) -> None:
    """The common name is the user, the organisation the group (Kubernetes: X509 client certificates)."""
    subject = _certificate(files, name).subject
    groups = [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert groups == ([group] if group else [])


def test_certificate_of_the_api_server_has_all_its_addresses(files: Mapping[str, bytes]) -> None:
    """For this machine and for pods, and the names that clients in pods check."""
    names = _certificate(files, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "10.201.3.2", "10.96.0.1"}
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)


def test_key_of_service_account_tokens_is_rsa(files: Mapping[str, bytes]) -> None:
    """Entra accepts only RS256."""
    key = serialization.load_pem_private_key(files["service-accounts.key"], password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.public_key() == serialization.load_pem_public_key(files["service-accounts.pub"])


def test_certificates_are_valid_for_a_year(files: Mapping[str, bytes]) -> None:
    """And five minutes before, for clocks that are slow."""
    found = _certificate(files, "apiserver")
    assert found.not_valid_before_utc.timestamp() == NOW - 300
    assert found.not_valid_after_utc.timestamp() == NOW + 365 * 86400
