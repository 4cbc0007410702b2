"""The CA and its server certificates, as strict verifiers see them."""

import ipaddress
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tests.unit.wisp_local.cloud.small_azure import NOW, Clock, KeyPool
from wisp_local.cloud.state import store as state
from wisp_local.cloud.state.authority import is_fit, new_authority, new_server_certificate

DAY = 86400
NAMES = ["localhost", "127.0.0.1", "::1", "cloud.test"]
AUTHORITY = new_authority(NOW)
SERVER = new_server_certificate(AUTHORITY, NAMES, NOW)


def _verify(name: x509.verification.Subject, moment: float) -> None:
    builder = PolicyBuilder().store(Store([AUTHORITY.certificate])).time(datetime.fromtimestamp(moment, UTC))
    builder.build_server_verifier(name).verify(SERVER.certificate, [])


@pytest.mark.parametrize("moment", [NOW - 60, NOW, NOW + 396 * DAY])
def test_strict_verifier_accepts_the_chain(moment: float) -> None:
    """Cryptography's verifier follows RFC 5280 and the web's profile; a slow clock is tolerated."""
    _verify(x509.DNSName("cloud.test"), moment)
    _verify(x509.IPAddress(ipaddress.ip_address("127.0.0.1")), moment)


def test_verifier_refuses_other_names_and_times() -> None:
    with pytest.raises(VerificationError):
        _verify(x509.DNSName("other.test"), NOW)
    with pytest.raises(VerificationError):
        _verify(x509.DNSName("cloud.test"), NOW + 400 * DAY)


def test_ca_certificate_has_the_extensions_of_a_ca() -> None:
    """Critical basicConstraints and keyUsage, both key identifiers, ten years."""
    certificate = AUTHORITY.certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    subject = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert subject.digest == authority.key_identifier
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc > timedelta(days=3650)


@pytest.mark.parametrize(
    "names, now, fit",
    [
        (NAMES, NOW, True),
        (NAMES[::-1], NOW + 366 * DAY, True),
        (NAMES, NOW + 368 * DAY, False),
        (NAMES, NOW - DAY, False),
        (NAMES[1:], NOW, False),
        ([*NAMES, "10.0.0.1"], NOW, False),
    ],
    ids=["same", "other order", "nearly expired", "clock set back", "a name less", "a name more"],
)
def test_stored_certificate_fits_the_same_names_and_a_month(names: list[str], now: float, fit: bool) -> None:  # noqa: FBT001 -- a table's column
    """Names in any order."""
    assert is_fit(SERVER, names, now) is fit


def test_ca_stays_while_the_server_certificate_is_renewed(tmp_path: Path, new_key: KeyPool) -> None:
    clock = Clock(time.time())
    with state.Store(tmp_path / "s", clock, new_key=new_key) as store:
        authority, first = store.authority.certificate_pem, store.authority.server_certificate(["a.test"])
        assert store.authority.server_certificate(["a.test"]) == first
        assert store.authority.server_certificate(["b.test"]) != first
        second = store.authority.server_certificate(["b.test"])
        clock.now += 380 * DAY
        assert store.authority.server_certificate(["b.test"]) != second
        assert store.authority.certificate_pem == authority
