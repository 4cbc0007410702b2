"""The keys of issuers elsewhere, as Entra reads them: discovery document, then key set, over https, kept a while.

Only issuers that a federated credential names are asked (`exchange` matches first), so the cache stays small.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from wisp_local.cloud.directory import Signature
from wisp_local.cloud.keysource import Found, read_key
from wisp_local.cloud.names import is_issuer_url

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
