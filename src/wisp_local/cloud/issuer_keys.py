"""The keys of issuers elsewhere, as Entra reads them: discovery document, then key set, over https, cached.

Only issuers that a federated credential names are asked (the exchange matches first), so the cache stays small.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from wisp_local.cloud.entra.directory import Signature
from wisp_local.cloud.https import FetchError
from wisp_local.cloud.names import is_issuer_url

CACHE_SECONDS = 300  # that a key set is used without asking again; Entra caches them for hours
RETRY_SECONDS = 10  # between two requests to one issuer, whatever the reason for asking again
_ISSUER_LIMIT = 256  # in the cache; the one asked longest ago makes room

FoundKey = RSAKey | Signature  # the key, or why it was not found


class KeySource(Protocol):
    """Find the key that an issuer publishes under a `kid`."""

    def find(self, issuer_url: str, key_id: str) -> FoundKey:
        """Return the key, or KEY_NOT_PUBLISHED, KEY_NOT_USABLE or ISSUER_UNREACHABLE."""
        ...


class UnreachableIssuers:
    """A key source that reaches nothing."""

    def find(self, issuer_url: str, key_id: str) -> FoundKey:  # noqa: ARG002 -- the protocol's signature
        """Return ISSUER_UNREACHABLE."""
        return Signature.ISSUER_UNREACHABLE


@dataclass(frozen=True)
class _KeySet:
    """What an issuer published when it was asked at `asked` (seconds of a steady clock); None: it was unreadable."""

    keys: Mapping[str, FoundKey] | None
    asked: float


class RemoteIssuers:
    """A `KeySource` that asks the issuer itself; `fetch` returns the body of a 200 answer or raises `FetchError`.

    `clock` gives seconds and never goes back.
    """

    def __init__(self, fetch: Callable[[str], bytes], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._cache: dict[str, _KeySet] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def find(self, issuer_url: str, key_id: str) -> FoundKey:
        """Return the issuer's key; an unknown `kid` is worth another request, but not in the next ten seconds."""
        with self._lock(issuer_url):
            key_set = self._cache.get(issuer_url)
            if key_set is None or self._is_outdated(key_set, key_id):
                key_set = self._ask(issuer_url)
        if key_set.keys is None:
            return Signature.ISSUER_UNREACHABLE
        return key_set.keys.get(key_id, Signature.KEY_NOT_PUBLISHED)

    def _is_outdated(self, key_set: _KeySet, key_id: str) -> bool:
        is_known = key_set.keys is not None and key_id in key_set.keys
        return self._clock() - key_set.asked >= (CACHE_SECONDS if is_known else RETRY_SECONDS)

    def _ask(self, issuer_url: str) -> _KeySet:
        try:
            keys = self._read(issuer_url)
        except FetchError:
            keys = None
        key_set = _KeySet(keys, self._clock())
        with self._guard:
            self._cache.pop(issuer_url, None)
            self._cache[issuer_url] = key_set
            while len(self._cache) > _ISSUER_LIMIT:
                self._cache.pop(next(iter(self._cache)))
        return key_set

    def _read(self, issuer_url: str) -> Mapping[str, FoundKey]:
        if not is_issuer_url(issuer_url):
            raise FetchError("the issuer is not an https URL")
        document = self._document(f"{issuer_url.removesuffix('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer_url:  # OpenID Connect Discovery §4.3: must be identical
            raise FetchError("the document is another issuer's")
        location = document.get("jwks_uri")
        if not isinstance(location, str) or not location.startswith("https://"):
            raise FetchError("jwks_uri is not an https URL")
        published = self._document(location).get("keys")
        if not isinstance(published, list):
            raise FetchError("the key set has no keys")
        keys = [jwk for jwk in published if isinstance(jwk, dict)]
        return {key_id: read_key(jwk) for jwk in keys if isinstance(key_id := jwk.get("kid"), str)}

    def _document(self, url: str) -> Mapping[str, object]:
        try:
            document = json.loads(self._fetch(url))
        except (ValueError, RecursionError) as error:
            raise FetchError("the document is not JSON") from error
        if not isinstance(document, dict):
            raise FetchError("the document is not a JSON object")
        return document

    def _lock(self, issuer_url: str) -> threading.Lock:
        """Return the lock of this issuer, so that one request serves all who wait and others do not wait for it."""
        with self._guard:
            if len(self._locks) > _ISSUER_LIMIT:
                self._locks = {url: lock for url, lock in self._locks.items() if lock.locked()}
            return self._locks.setdefault(issuer_url, threading.Lock())


def find_key(key_set: Mapping[str, object], key_id: str) -> FoundKey:
    """Find a key in a published key set (RFC 7517)."""
    published = key_set.get("keys")
    for jwk in published if isinstance(published, list) else []:
        if isinstance(jwk, dict) and jwk.get("kid") == key_id:
            return read_key(jwk)
    return Signature.KEY_NOT_PUBLISHED


def read_key(jwk: dict[str, object]) -> FoundKey:
    """Parse a published JWK into a key for RS256."""
    if jwk.get("kty") != "RSA" or jwk.get("use", "sig") != "sig" or jwk.get("alg", "RS256") != "RS256":
        return Signature.KEY_NOT_USABLE
    try:
        return RSAKey.import_key({name: value for name in ("kty", "n", "e") if isinstance(value := jwk.get(name), str)})
    except (JoseError, ValueError):
        return Signature.KEY_NOT_USABLE
