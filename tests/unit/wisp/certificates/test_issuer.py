"""Certificates as they are made, and what is found out about those that somebody has tampered with."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.intruder import Intruder
from tests.support.waiting import PATIENCE
from wisp.base.pem import pem_blocks
from wisp.base.secret import Secret
from wisp.base.x509 import CertificateRequest, new_authority
from wisp.base.x509 import issue as issue_certificate
from wisp.certificates.decision import Broken, CertificateSet, Inspected
from wisp.certificates.issuer import (
    Adopt,
    IssueAll,
    IssueAuthority,
    IssueCertificate,
    IssuerError,
    IssuerProcess,
    Subject,
    decode,
    encode,
)
from wisp.certificates.issuer_process import inspect, issue

NOW = 1_700_000_000.0
DAY = 86400.0
NAMES = ("wisp-webhook.wisp.svc", "wisp-webhook")
SUBJECT = Subject("wisp webhook", NAMES)


def issued(**changes: Any) -> CertificateSet:
    """Issue a set, and change it."""
    return issue(IssueAll(SUBJECT, NOW, 3650 * DAY, 90 * DAY))._replace(**changes)


def test_issued_set_has_the_names_and_lifetimes_asked_for() -> None:
    """An authority and a certificate of it, for the names, for the times asked for."""
    found = inspect(issued())
    assert isinstance(found, Inspected)
    (own,) = found.authorities
    assert found.serving.issuer == own.pem
    assert found.serving.names == frozenset(NAMES)
    assert (found.serving.issued_at, found.serving.expires_at) == (NOW, NOW + 90 * DAY)
    assert (own.issued_at, own.expires_at) == (NOW, NOW + 3650 * DAY)


def test_certificate_does_not_outlive_its_authority() -> None:
    """However long it is asked to live."""
    certificates = issue(IssueAll(SUBJECT, NOW, DAY, 90 * DAY))
    found = inspect(certificates)
    assert isinstance(found, Inspected)
    assert found.serving.expires_at == NOW + DAY


@pytest.mark.parametrize(
    "certificates, reason",
    [
        pytest.param(issued(bundle=b""), "", id="no ca.crt"),
        pytest.param(issued(chain=b"\xff\x00"), "", id="tls.crt is not PEM"),
        pytest.param(issued(key=Secret("")), "", id="no tls.key"),
        pytest.param(issued(key=issued().key), "tls.key is not the key of tls.crt", id="another tls.key"),
        pytest.param(issued(ca_key=issued().key), "ca.key is not the key of", id="another ca.key"),
        pytest.param(issued(bundle=issued().bundle), "ca.key is not the key of", id="another ca.crt"),
        pytest.param(issued(bundle=issued().chain), "not a CA's", id="a certificate for ca.crt"),
    ],
)
def test_broken_set_is_reported_with_a_reason(certificates: CertificateSet, reason: str) -> None:
    """Each part is missing, unreadable or another's once."""
    found = inspect(certificates)
    assert isinstance(found, Broken)
    assert reason in found.reason


def test_certificate_of_another_authority_is_reported() -> None:
    """tls.crt and tls.key are a pair, but nobody in ca.crt has issued it."""
    other = issued()
    assert inspect(issued(chain=other.chain, key=other.key)) == Broken("no CA in ca.crt has issued tls.crt")


def test_old_authority_stays_in_the_bundle_until_it_expires() -> None:
    """The new authority comes first; the certificate changes with the renewal; the old authority leaves when past."""
    first = issue(IssueAll(SUBJECT, NOW, 10 * DAY, DAY))
    announced = issue(IssueAuthority(first, SUBJECT, NOW + DAY, 20 * DAY))
    assert announced.bundle.endswith(first.bundle)
    assert announced.chain.startswith(first.chain)
    renewed = issue(IssueCertificate(announced, SUBJECT, NOW + 2 * DAY, DAY))
    assert renewed.bundle == announced.bundle
    assert renewed.chain != first.chain
    later = issue(IssueCertificate(renewed, SUBJECT, NOW + 11 * DAY, DAY))
    assert first.bundle not in later.bundle
    assert isinstance(inspect(later), Inspected)


def test_authority_that_may_not_have_a_successor_certifies_none() -> None:
    """CAs of earlier versions of wisp have the path length 0: verifiers would reject the certificate."""
    old = new_authority("wisp webhook CA", now=NOW, seconds=10 * DAY)
    serving = issue_certificate(old, CertificateRequest("wisp webhook", NAMES), now=NOW, seconds=DAY)
    ca_key, key = (Secret(certified.key_pem.decode()) for certified in (old, serving))
    first = CertificateSet(old.certificate_pem, ca_key, serving.certificate_pem, key)
    announced = issue(IssueAuthority(first, SUBJECT, NOW, 20 * DAY))
    assert announced.chain == first.chain
    assert isinstance(inspect(announced), Inspected)
    renewed = issue(IssueCertificate(announced, SUBJECT, NOW, DAY))
    assert len(pem_blocks(renewed.chain)) == 1
    assert len(pem_blocks(issue(IssueAuthority(renewed, SUBJECT, NOW, DAY)).chain)) == 2


def test_cross_certificate_leaves_the_chain_when_it_has_expired() -> None:
    """It is carried on until then, and expires with the old CA."""
    first = issue(IssueAll(SUBJECT, NOW, 10 * DAY, DAY))
    announced = issue(IssueAuthority(first, SUBJECT, NOW + DAY, 20 * DAY))
    cross = pem_blocks(announced.chain)[1]
    assert pem_blocks(issue(IssueCertificate(announced, SUBJECT, NOW + 9 * DAY, DAY)).chain)[1:] == [cross]
    later = issue(IssueCertificate(announced, SUBJECT, NOW + 10 * DAY, DAY))
    assert pem_blocks(later.chain)[1:] == []


def test_only_authorities_with_the_subjects_name_are_adopted() -> None:
    """What else somebody publishes does not stay there."""
    certificates, ours = issued(), issued()
    foreign = _foreign_authority()
    assert issue(Adopt(certificates, SUBJECT, (foreign, b"rubbish", ours.chain), NOW)) == certificates
    adopted = issue(Adopt(certificates, SUBJECT, (foreign + ours.bundle,), NOW))
    assert adopted.bundle == certificates.bundle + ours.bundle
    assert issue(Adopt(certificates, SUBJECT, (ours.bundle,), NOW + 4000 * DAY)) == certificates, "not when it is past"


def _foreign_authority() -> bytes:
    script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=other"
    return subprocess.run(script.split(), check=True, capture_output=True).stdout


async def _all_questions() -> None:
    issuer = IssuerProcess()
    certificates = await issuer.issue(IssueAll(SUBJECT, NOW, 10 * DAY, DAY, trusted=(b"\xff",)))
    assert isinstance(await issuer.inspect(certificates), Inspected)
    assert isinstance(await issuer.inspect(certificates._replace(chain=b"\xff")), Broken)
    announced = await issuer.issue(IssueAuthority(certificates, SUBJECT, NOW, 10 * DAY))
    renewed = await issuer.issue(IssueCertificate(announced, SUBJECT, NOW, DAY))
    assert renewed.bundle == announced.bundle
    assert await issuer.issue(Adopt(renewed, SUBJECT, (certificates.bundle,), NOW)) == renewed
    assert await issuer.expiry(certificates.chain) == NOW + DAY
    with pytest.raises(IssuerError):
        await issuer.expiry(b"")


@pytest.mark.system
def test_process_answers_every_question() -> None:
    """The child process does what the module does."""
    asyncio.run(_all_questions())


@pytest.mark.parametrize(
    "command, timeout, words",
    [
        pytest.param(("/nowhere/python",), PATIENCE, "cannot be started", id="not there"),
        pytest.param((sys.executable, "-c", "raise SystemExit('broken')"), PATIENCE, "broken", id="ends with an error"),
        pytest.param((sys.executable, "-c", "import time; time.sleep(600)"), 0.1, "did not answer", id="hangs"),
    ],
)
def test_failing_process_is_reported_with_its_last_words(command: tuple[str, ...], timeout: float, words: str) -> None:
    """Is an error with its last words, and is not left behind."""
    with pytest.raises(IssuerError, match=words):
        asyncio.run(IssuerProcess(command, timeout=timeout).inspect(issued()))


def test_messages_between_the_processes_are_decoded_as_they_were_encoded() -> None:
    """Keys included; but a repr shows no key."""
    for certificates in (issued(), issued(chain=b"\xff\x00", key=Secret("\xff"))):
        assert decode(encode(certificates), CertificateSet) == certificates
        assert "PRIVATE" not in repr(certificates)
    for found in (inspect(issued()), Broken("why")):
        assert decode(encode(found), Inspected | Broken) == found


def test_process_loads_no_code_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that makes keys loads no module of PYTHONPATH, nor one from the working directory."""
    intruder = Intruder(tmp_path / "intruder")
    monkeypatch.setenv("PYTHONPATH", str(intruder.folder))
    monkeypatch.chdir(intruder.folder)
    certificates = asyncio.run(IssuerProcess().issue(IssueAll(SUBJECT, NOW, 10 * DAY, DAY)))
    assert isinstance(inspect(certificates), Inspected)
    assert not intruder.processes()


def test_process_gets_no_variables_that_run_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has none of the variables that run code elsewhere than in Python."""
    monkeypatch.setenv("OPENSSL_CONF", "/some/file")
    tell = "import json, os; print(json.dumps({'type': 'Broken', 'reason': ' '.join(os.environ)}))"
    with pytest.raises(IssuerError) as raised:
        asyncio.run(IssuerProcess((sys.executable, "-c", tell)).expiry(b""))
    assert "OPENSSL_CONF" not in str(raised.value)
    assert "PATH" not in str(raised.value).split()
