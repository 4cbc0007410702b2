"""Where Entra finds the keys of an assertion's issuer: this cloud's own issuers at once, others over https."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import urllib3
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from wisp.base.errors import SettingError
from wisp_local.cloud.entra.directory import Signature
from wisp_local.cloud.names import is_issuer_url
from wisp_local.cloud.state.store import Store

Found = RSAKey | Signature  # the key, or why there is none


class KeySource(Protocol):
    """Find the key that an issuer publishes under a `kid`."""

    def find(self, issuer_url: str, key_id: str) -> Found:
        """Return the key, or KEY_NOT_PUBLISHED, KEY_NOT_USABLE or ISSUER_UNREACHABLE."""
        ...


@dataclass(frozen=True)
class OwnIssuers:
    """The issuers of this cloud, read from `store`: no request to ourselves; all others from `elsewhere`."""

    store: Store
    base_urls: frozenset[str]
    elsewhere: KeySource

    def find(self, issuer_url: str, key_id: str) -> Found:
        """Look the key up in the store when the URL is one of ours, or its keys were given."""
        base, slash, rest = issuer_url.partition("/oidc/")
        if base not in self.base_urls or not slash:
            given = self.store.issuers.given_keys(url=issuer_url)
            return self.elsewhere.find(issuer_url, key_id) if given is None else find_key(json.loads(given), key_id)
        issuer = self.store.issuers.get(rest.removesuffix("/"))
        if issuer is None or not rest.endswith("/"):
            return Signature.ISSUER_UNREACHABLE
        given = self.store.issuers.given_keys(path=issuer.path, name=issuer.name)
        if given is not None:
            return find_key(json.loads(given), key_id)
        for each in issuer.keys:
            if each.key_id == key_id:
                return each.public
        return Signature.KEY_NOT_PUBLISHED


class NoOthers:
    """A key source that reaches nothing."""

    def find(self, issuer_url: str, key_id: str) -> Found:  # noqa: ARG002 -- the protocol's signature
        """Say that the issuer cannot be reached."""
        return Signature.ISSUER_UNREACHABLE


def find_key(key_set: Mapping[str, object], key_id: str) -> Found:
    """Find a key in a published key set (RFC 7517)."""
    published = key_set.get("keys")
    for each in published if isinstance(published, list) else []:
        if isinstance(each, dict) and each.get("kid") == key_id:
            return read_key(each)
    return Signature.KEY_NOT_PUBLISHED


def read_key(jwk: dict[str, object]) -> Found:
    """Parse a published JWK into a key for RS256."""
    if jwk.get("kty") != "RSA" or jwk.get("use", "sig") != "sig" or jwk.get("alg", "RS256") != "RS256":
        return Signature.KEY_NOT_USABLE
    try:
        return RSAKey.import_key({name: value for name in ("kty", "n", "e") if isinstance(value := jwk.get(name), str)})
    except (JoseError, ValueError):
        return Signature.KEY_NOT_USABLE


_SIZE_LIMIT = 256 * 1024  # bytes; a key set is a few kilobytes
_CHUNK = 16 * 1024
_DEADLINE = 10.0  # seconds for the whole document
_PATIENCE = urllib3.Timeout(connect=3.0, read=3.0)  # seconds for each step


class HttpsFetch:
    """A `Fetch` that trusts the system's authorities and those in the file `authorities`.

    Raises `SettingError` when that file cannot be used. Redirects are refused, compressed answers not asked for.
    """

    def __init__(self, authorities: Path | None = None) -> None:
        context = ssl.create_default_context()
        if authorities is not None:
            _trust(context, authorities)
        self._pool = urllib3.PoolManager(num_pools=16, ssl_context=context, timeout=_PATIENCE, retries=False)

    def __call__(self, url: str) -> bytes:
        """Return the body of a 200 answer; raises `FetchError`."""
        try:
            response = self._pool.request("GET", url, redirect=False, preload_content=False)
            try:
                return _body(response)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, ValueError, OSError) as error:
            raise FetchError(type(error).__name__) from error


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    if response.status != 200:
        raise FetchError(f"status {response.status}")
    body, deadline = bytearray(), time.monotonic() + _DEADLINE
    for chunk in response.stream(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > _SIZE_LIMIT or time.monotonic() > deadline:
            raise FetchError("the document is too large or too slow")
    return bytes(body)


def _trust(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"the CA file {authorities} cannot be used ({error.strerror or 'no certificate in it'})",
            hint="give a PEM file to --issuer-ca",
        ) from error


KEPT = 300  # seconds that a key set is used without asking again; Entra keeps them for hours
RETRY = 10  # seconds between two requests to one issuer, whatever the reason for asking again
_ISSUERS = 256  # kept at most; the one asked longest ago makes room


class FetchError(Exception):
    """An issuer's document could not be fetched; says why in words that hold no document."""


class Fetch(Protocol):
    """Get a document over https."""

    def __call__(self, url: str) -> bytes:
        """Return the body of a 200 answer; raises `FetchError`."""
        ...


@dataclass(frozen=True)
class _KeySet:
    """What an issuer published when it was asked at `asked` (seconds of a steady clock); None: it could not be read."""

    keys: Mapping[str, Found] | None
    asked: float


class RemoteIssuers:
    """A `KeySource` that asks the issuer itself; `clock` gives seconds and never goes back."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, _KeySet] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def find(self, issuer_url: str, key_id: str) -> Found:
        """Return the issuer's key; a `kid` never seen is worth another request, but not in the next ten seconds."""
        with self._lock(issuer_url):
            known = self._known.get(issuer_url)
            if known is None or self._is_worth_asking(known, key_id):
                known = self._ask(issuer_url)
        if known.keys is None:
            return Signature.ISSUER_UNREACHABLE
        return known.keys.get(key_id, Signature.KEY_NOT_PUBLISHED)

    def _is_worth_asking(self, known: _KeySet, key_id: str) -> bool:
        age = self._clock() - known.asked
        return age >= (KEPT if known.keys is not None and key_id in known.keys else RETRY)

    def _ask(self, issuer_url: str) -> _KeySet:
        try:
            keys = self._read(issuer_url)
        except FetchError:
            keys = None
        known = _KeySet(keys, self._clock())
        with self._guard:
            self._known.pop(issuer_url, None)
            self._known[issuer_url] = known
            while len(self._known) > _ISSUERS:
                self._known.pop(next(iter(self._known)))
        return known

    def _read(self, issuer_url: str) -> Mapping[str, Found]:
        if not is_issuer_url(issuer_url):
            raise FetchError("the issuer is no https URL")
        document = self._document(f"{issuer_url.removesuffix('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer_url:  # OpenID Connect Discovery §4.3: must be identical
            raise FetchError("the document is another issuer's")
        location = document.get("jwks_uri")
        if not isinstance(location, str) or not location.startswith("https://"):
            raise FetchError("jwks_uri is no https URL")
        return _by_key_id(self._document(location))

    def _document(self, url: str) -> Mapping[str, object]:
        try:
            document = json.loads(self._fetch(url))
        except (ValueError, RecursionError) as error:
            raise FetchError("the document is not JSON") from error
        if not isinstance(document, dict):
            raise FetchError("the document is no JSON object")
        return document

    def _lock(self, issuer_url: str) -> threading.Lock:
        """Return the lock of this issuer, so that one request serves all who wait and others do not wait for it."""
        with self._guard:
            if len(self._locks) > _ISSUERS:
                self._locks = {url: lock for url, lock in self._locks.items() if lock.locked()}
            return self._locks.setdefault(issuer_url, threading.Lock())


def _by_key_id(document: Mapping[str, object]) -> Mapping[str, Found]:
    published = document.get("keys")
    if not isinstance(published, list):
        raise FetchError("the key set has no keys")
    keys = [each for each in published if isinstance(each, dict)]
    return {kid: read_key(each) for each in keys if isinstance(kid := each.get("kid"), str)}
