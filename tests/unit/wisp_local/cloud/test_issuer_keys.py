"""The keys of issuers elsewhere: how they are fetched, cached and believed."""

import json
import ssl
import threading
from dataclasses import dataclass, field

import pytest
from joserfc.jwk import RSAKey

from tests.unit.wisp_local.cloud.small_azure import BASE_URL, NOW, Clock, KeyPool, SmallAzure
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.entra.directory import Signature
from wisp_local.cloud.https import FetchError
from wisp_local.cloud.issuer import SigningKey, discovery
from wisp_local.cloud.issuer_keys import CACHE_SECONDS, RETRY_SECONDS, RemoteIssuers
from wisp_local.cloud.serving import tls_context
from wisp_local.cloud.state.authority import new_authority, new_server_certificate

URL = "https://issuer.test/c/"
DISCOVERY = f"{URL}.well-known/openid-configuration"


@dataclass
class Web:
    """Documents by URL, and which were asked for."""

    documents: dict[str, object] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, url: str) -> bytes:
        """Return the document or fail."""
        self.asked.append(url)
        document = self.documents.get(url)
        if document is None:
            raise FetchError("status 404")
        return document if isinstance(document, bytes) else json.dumps(document).encode()


@pytest.fixture
def key(new_key: KeyPool) -> SigningKey:
    """Give the key of the issuer elsewhere."""
    return SigningKey("k1", new_key(), {})


@pytest.fixture
def web(key: SigningKey) -> Web:
    """Give a web in which the issuer publishes its key."""
    return Web({DISCOVERY: discovery(URL), f"{URL}openid/v1/jwks": {"keys": [key.published()]}})


def test_key_is_cached_for_five_minutes(web: Web, key: SigningKey) -> None:
    clock = Clock(0)
    issuers = RemoteIssuers(web, clock)
    found = issuers.find(URL, "k1")
    assert isinstance(found, RSAKey)
    assert found.as_dict(private=False)["n"] == key.published()["n"]
    clock.now = CACHE_SECONDS - 1
    assert issuers.find(URL, "k1") is found
    assert web.asked == [DISCOVERY, f"{URL}openid/v1/jwks"]
    clock.now = CACHE_SECONDS
    issuers.find(URL, "k1")
    assert len(web.asked) == 4


def test_unknown_kid_is_looked_up_again_after_ten_seconds(web: Web, key: SigningKey) -> None:
    """A rotation is seen soon, and invented kids cannot flood the issuer."""
    clock = Clock(0)
    issuers = RemoteIssuers(web, clock)
    for _ in range(3):
        assert issuers.find(URL, "k2") is Signature.KEY_NOT_PUBLISHED
    assert len(web.asked) == 2
    web.documents[f"{URL}openid/v1/jwks"] = {"keys": [{**key.published(), "kid": "k2"}]}
    clock.now = RETRY_SECONDS
    assert isinstance(issuers.find(URL, "k2"), RSAKey)
    assert issuers.find(URL, "k1") is Signature.KEY_NOT_PUBLISHED


def test_unreachable_issuer_is_asked_again_after_ten_seconds(web: Web) -> None:
    clock, documents = Clock(0), web.documents
    web.documents = {}
    issuers = RemoteIssuers(web, clock)
    for _ in range(3):
        assert issuers.find(URL, "k1") is Signature.ISSUER_UNREACHABLE
    assert web.asked == [DISCOVERY]
    web.documents, clock.now = documents, RETRY_SECONDS
    assert isinstance(issuers.find(URL, "k1"), RSAKey)


WRONG = {
    "another issuer's document": {DISCOVERY: discovery("https://issuer.test/c")},
    "no document": {DISCOVERY: []},
    "not json": {DISCOVERY: b"<html>"},
    "nested too deep": {DISCOVERY: b"[" * 100_000},
    "keys over http": {DISCOVERY: {"issuer": URL, "jwks_uri": "http://issuer.test/keys"}},
    "keys nowhere": {DISCOVERY: {"issuer": URL}},
    "keys absent": {f"{URL}openid/v1/jwks": {}},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_untrustworthy_document_makes_the_issuer_unreachable(web: Web, change: dict[str, object]) -> None:
    """OpenID Connect Discovery §4.3 requires an identical issuer."""
    web.documents.update(change)
    assert RemoteIssuers(web, Clock(0)).find(URL, "k1") is Signature.ISSUER_UNREACHABLE


@pytest.mark.parametrize("url", ["http://issuer.test/", "ftp://issuer.test/", "https:///x", "issuer"])
def test_issuer_without_https_is_not_asked(web: Web, url: str) -> None:
    assert RemoteIssuers(web, Clock(0)).find(url, "k1") is Signature.ISSUER_UNREACHABLE
    assert web.asked == []


UNUSABLE = {
    "elliptic": {"kty": "EC"},
    "for encryption": {"use": "enc"},
    "for another algorithm": {"alg": "RS512"},
    "without modulus": {"n": None},
    "modulus no text": {"n": 5},
    "modulus no number": {"n": "***"},
    "too short": {"n": "AQAB"},
}


@pytest.mark.parametrize("change", UNUSABLE.values(), ids=UNUSABLE)
def test_published_key_that_cannot_verify_rs256_is_unusable(
    web: Web, key: SigningKey, change: dict[str, object]
) -> None:
    keys = [None, {"kid": 5}, {**key.published(), **change}]
    web.documents[f"{URL}openid/v1/jwks"] = {"keys": keys}
    assert RemoteIssuers(web, Clock(0)).find(URL, "k1") is Signature.KEY_NOT_USABLE


def test_cache_of_issuers_is_bounded(web: Web) -> None:
    """The issuers asked last stay."""
    issuers = RemoteIssuers(web, Clock(0))
    for number in range(600):
        issuers.find(f"https://issuer.test/{number}/", "k1")
    assert len(issuers._cache) <= 256
    assert len(issuers._locks) <= 258
    assert "https://issuer.test/599/" in issuers._cache


def test_concurrent_lookups_share_one_request(web: Web) -> None:
    issuers, found = RemoteIssuers(web, Clock(0)), []
    threads = [threading.Thread(target=lambda: found.append(issuers.find(URL, "k1"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(web.asked) == 2


def test_assertion_of_an_issuer_elsewhere_is_exchanged(azure: SmallAzure, web: Web, key: SigningKey) -> None:
    """An issuer that no credential trusts is never called."""
    options = Options(elsewhere=RemoteIssuers(web, Clock(0)))
    azure.client._app = create_app(azure.store, BASE_URL, options)
    claims = azure.claims(iss=URL, sub="system:serviceaccount:a:b")
    assertion = key.sign({}, claims).reveal()
    assert azure.ask(client_assertion=assertion).code == 700211
    assert web.asked == []
    azure.store.put_federated_credential(azure.identity, "else", issuer=URL, subject="system:serviceaccount:a:b")
    assert azure.ask(client_assertion=assertion).status == 200


def test_server_context_requires_tls_1_2() -> None:
    certified = new_server_certificate(new_authority(NOW), ["localhost"], NOW)
    assert tls_context(certified).minimum_version is ssl.TLSVersion.TLSv1_2
