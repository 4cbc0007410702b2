"""Certificates as they are made, and what is found out about those that somebody has tampered with."""

import asyncio
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.intruder import Intruder
from tests.support.waiting import PATIENCE
from wisp.base.secret import Secret
from wisp.http.tls import load_pem
from wisp.webhook.certificates import authority
from wisp.webhook.certificates.certificate import Broken, Facts, Kept, Lives
from wisp.webhook.certificates.certifying import Certifier, UncertifiedError
from wisp.webhook.certificates.packing import facts_of, kept_of, pack_facts, pack_kept

NOW = 1_700_000_000.0
DAY = 86400.0
NAMES = ["wisp-webhook.wisp.svc", "wisp-webhook"]


def made(**changes: Any) -> Kept:
    """Return a whole set, with changes."""
    kept = authority.make(NAMES, now=NOW, authority_seconds=3650 * DAY, leaf_seconds=90 * DAY)
    return kept._replace(**changes)


def test_what_is_made() -> None:
    """An authority and a certificate of it, for the names, for the times asked for."""
    found = authority.examine(made())
    assert isinstance(found, Facts)
    (own,) = found.authorities
    assert found.leaf.issuer == own.pem
    assert found.leaf.names == frozenset(NAMES)
    assert (found.leaf.issued_at, found.leaf.expires_at) == (NOW, NOW + 90 * DAY)
    assert (own.issued_at, own.expires_at) == (NOW, NOW + 3650 * DAY)


def test_openssl_verifies_it() -> None:
    """Strictly (RFC 5280), by the bundle, by its name: as Go and Python 3.13 do."""
    kept = authority.make(NAMES, now=NOW, authority_seconds=1e9, leaf_seconds=1e9)
    context = ssl.create_default_context(cadata=kept.bundle.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pem(server, kept.chain, kept.key.reveal().encode())
    down, up = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname=NAMES[0])
    served = server.wrap_bio(up, down, server_side=True)
    for _ in range(3):
        for end in (client, served):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()["subject"] == ((("commonName", "wisp webhook"),),)  # type: ignore[index]


def test_a_certificate_does_not_outlive_its_authority() -> None:
    """However long it is asked to live."""
    kept = authority.make(NAMES, now=NOW, authority_seconds=DAY, leaf_seconds=90 * DAY)
    found = authority.examine(kept)
    assert isinstance(found, Facts)
    assert found.leaf.expires_at == NOW + DAY


@pytest.mark.parametrize(
    "kept, reason",
    [
        pytest.param(made(bundle=b""), "", id="no ca.crt"),
        pytest.param(made(chain=b"\xff\x00"), "", id="tls.crt is no PEM"),
        pytest.param(made(key=Secret("")), "", id="no tls.key"),
        pytest.param(made(key=made().key), "tls.key is not the key of tls.crt", id="another tls.key"),
        pytest.param(made(authority_key=made().key), "ca.key is not the key of", id="another ca.key"),
        pytest.param(made(bundle=made().bundle), "ca.key is not the key of", id="another ca.crt"),
        pytest.param(made(bundle=made().chain), "no authority's", id="a certificate for ca.crt"),
    ],
)
def test_what_is_broken_is_found_out(kept: Kept, reason: str) -> None:
    """Each part is missing, unreadable or another's once."""
    found = authority.examine(kept)
    assert isinstance(found, Broken)
    assert reason in found.reason


def test_a_foreign_certificate_is_found_out() -> None:
    """tls.crt and tls.key are a pair, but nobody in ca.crt has issued it."""
    other = made()
    assert authority.examine(made(chain=other.chain, key=other.key)) == Broken(
        "no authority in ca.crt has issued tls.crt"
    )


def test_announce_then_renew_then_prune() -> None:
    """The new authority comes first; the certificate changes with the renewal; the old authority leaves when past."""
    first = authority.make(NAMES, now=NOW, authority_seconds=10 * DAY, leaf_seconds=DAY)
    announced = authority.announce(first, now=NOW + DAY, seconds=20 * DAY)
    assert announced.bundle.endswith(first.bundle)
    assert announced.chain == first.chain
    renewed = authority.renew(announced, NAMES, now=NOW + 2 * DAY, seconds=DAY)
    assert renewed.bundle == announced.bundle
    assert renewed.chain != first.chain
    later = authority.renew(renewed, NAMES, now=NOW + 11 * DAY, seconds=DAY)
    assert first.bundle not in later.bundle
    assert isinstance(authority.examine(later), Facts)


def test_only_our_own_authorities_are_adopted() -> None:
    """What else somebody puts into the configuration does not stay there."""
    kept, ours = made(), made()
    foreign = _foreign_authority()
    assert authority.adopt(kept, [foreign, b"rubbish", ours.chain], now=NOW) == kept
    adopted = authority.adopt(kept, [foreign + ours.bundle], now=NOW)
    assert adopted.bundle == kept.bundle + ours.bundle
    assert authority.adopt(kept, [ours.bundle], now=NOW + 4000 * DAY) == kept, "not when it is past"


def _foreign_authority() -> bytes:
    script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=other"
    return subprocess.run(script.split(), check=True, capture_output=True).stdout


async def _all_questions() -> None:
    certifier = Certifier()
    lives = Lives(authority=10 * DAY, leaf=DAY)
    kept = await certifier.make(NAMES, [b"\xff"], now=NOW, lives=lives)
    assert isinstance(await certifier.examine(kept), Facts)
    assert isinstance(await certifier.examine(kept._replace(chain=b"\xff")), Broken)
    announced = await certifier.announce(kept, now=NOW, lives=lives)
    renewed = await certifier.renew(announced, NAMES, now=NOW, lives=lives)
    assert renewed.bundle == announced.bundle
    assert await certifier.adopt(renewed, [kept.bundle], now=NOW) == renewed
    assert await certifier.expiry(kept.chain) == NOW + DAY
    with pytest.raises(UncertifiedError):
        await certifier.expiry(b"")


def test_the_process_answers_every_question() -> None:
    """The child process does what the module does."""
    asyncio.run(_all_questions())


@pytest.mark.parametrize(
    "command, patience, words",
    [
        pytest.param(("/nowhere/python",), PATIENCE, "cannot be started", id="not there"),
        pytest.param((sys.executable, "-c", "raise SystemExit('broken')"), PATIENCE, "broken", id="ends with an error"),
        pytest.param((sys.executable, "-c", "import time; time.sleep(600)"), 0.1, "did not answer", id="hangs"),
    ],
)
def test_a_process_that_fails(command: tuple[str, ...], patience: float, words: str) -> None:
    """Is an error with its last words, and is not left behind."""
    with pytest.raises(UncertifiedError, match=words):
        asyncio.run(Certifier(command, patience=patience).examine(made()))


def test_packing() -> None:
    """What goes through the pipe comes out as it was, and a repr of it shows no key."""
    kept = made()
    assert kept_of(json.loads(json.dumps(pack_kept(kept)))) == kept
    for found in (authority.examine(kept), Broken("why")):
        assert facts_of(json.loads(json.dumps(pack_facts(found)))) == found
    assert "PRIVATE" not in repr(kept)


def test_no_code_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that makes keys loads no module of PYTHONPATH, nor one from the working directory."""
    intruder = Intruder(tmp_path / "intruder")
    monkeypatch.setenv("PYTHONPATH", str(intruder.folder))
    monkeypatch.chdir(intruder.folder)
    kept = asyncio.run(Certifier().make(NAMES, [], now=NOW, lives=Lives()))
    assert isinstance(authority.examine(kept), Facts)
    assert not intruder.processes()


def test_the_environment_of_the_certificate_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has none of the variables that run code elsewhere than in Python."""
    monkeypatch.setenv("OPENSSL_CONF", "/some/file")
    tell = "import json, os; print(json.dumps({'broken': ' '.join(os.environ)}))"
    with pytest.raises(UncertifiedError) as raised:
        asyncio.run(Certifier((sys.executable, "-c", tell)).expiry(b""))
    assert "OPENSSL_CONF" not in str(raised.value)
    assert "PATH" not in str(raised.value).split()
