"""TLS libraries of the SDKs verify what is served, also by the bundle of an older CA, which is all that a pod has."""

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from wisp.base.pem import pem_blocks
from wisp.certificates.decision import CertificateSet
from wisp.certificates.issuer import IssueAll, IssueAuthority, IssueCertificate, Subject
from wisp.certificates.issuer_process import issue
from wisp.http.tls import load_pem

NOW = 1_700_000_000.0
SECONDS = 1e9
"""The libraries have no clock to set, so certificates are valid until 2055."""
NAME = "wisp-gateway.wisp.svc"
SUBJECT = Subject("wisp gateway", (NAME,))
PROGRAMS = Path(__file__).parent / "verifiers"


def next_authority(certificates: CertificateSet) -> CertificateSet:
    """Add a CA."""
    return issue(IssueAuthority(certificates, SUBJECT, NOW, SECONDS))


def renewed(certificates: CertificateSet) -> CertificateSet:
    """Issue a certificate of the newest CA."""
    return issue(IssueCertificate(certificates, SUBJECT, NOW, SECONDS))


FIRST = issue(IssueAll(SUBJECT, NOW, SECONDS, SECONDS))
SECOND = renewed(next_authority(FIRST))
REPLACED = issue(IssueAll(SUBJECT, NOW, SECONDS, SECONDS, trusted=(SECOND.bundle,), predecessor=SECOND))


def newest(certificates: CertificateSet) -> bytes:
    """Return the newest CA of a bundle."""
    return pem_blocks(certificates.bundle)[0]


class Case(NamedTuple):
    """What a client trusts, and what is served."""

    bundle: bytes
    served: CertificateSet


CASES = {
    "the CA that issued it": Case(FIRST.bundle, FIRST),
    "its predecessor": Case(FIRST.bundle, SECOND),
    "both": Case(SECOND.bundle, SECOND),
    "without the predecessor": Case(newest(SECOND), SECOND),
    "while the certificate is still the predecessor's": Case(FIRST.bundle, next_authority(FIRST)),
    "the CA before its predecessor": Case(FIRST.bundle, REPLACED),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def served_to(case: Case) -> str:
    """Shake hands with a strict client (RFC 5280); return the server's name in the certificate."""
    context = ssl.create_default_context(cadata=case.bundle.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pem(server, case.served.chain, case.served.key.reveal().encode())
    down, up = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname=NAME)
    ends = (client, server.wrap_bio(up, down, server_side=True))
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return str(client.getpeercert()["subject"][0][0][1])  # type: ignore[index]


@cases
def test_python_verifies(case: Case) -> None:
    """As Python 3.13 and later do by default."""
    assert served_to(case) == "wisp gateway"


def test_python_rejects_an_unknown_successor() -> None:
    """Without the cross certificate, the chain ends at an unknown CA."""
    chain = pem_blocks(SECOND.chain)[0] + b"\n"
    with pytest.raises(ssl.SSLCertVerificationError):
        served_to(Case(FIRST.bundle, SECOND._replace(chain=chain)))


def verify(folder: Path, case: Case, *command: str) -> None:
    """Run a program with the paths of bundle and chain. Fail with its output if it fails."""
    paths = {"BUNDLE": folder / "bundle.pem", "CHAIN": folder / "chain.pem"}
    paths["BUNDLE"].write_bytes(case.bundle)
    paths["CHAIN"].write_bytes(case.served.chain)
    arguments = [str(paths.get(word, word)) for word in command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.system
@cases
def test_openssl_verifies(tmp_path: Path, case: Case) -> None:
    """Strictly, for a TLS server of that name."""
    strictly = f"-x509_strict -purpose sslserver -verify_hostname {NAME}".split()
    verify(tmp_path, case, "openssl", "verify", *strictly, "-CAfile", "BUNDLE", "-untrusted", "CHAIN", "CHAIN")


@pytest.mark.system
@pytest.mark.needs("go")
@cases
def test_go_verifies(tmp_path: Path, case: Case) -> None:
    """By crypto/x509."""
    verify(tmp_path, case, "go", "run", str(PROGRAMS / "verify.go"), "BUNDLE", "CHAIN", NAME)


@pytest.mark.system
@pytest.mark.needs("java")
@cases
def test_java_verifies(tmp_path: Path, case: Case) -> None:
    """By the trust manager of the JDK."""
    verify(tmp_path, case, "java", str(PROGRAMS / "Verify.java"), "BUNDLE", "CHAIN")
