"""Where Entra finds the keys of an assertion's issuer: this cloud's own issuers at once, others over https."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from wisp_local.cloud.directory import Signature
from wisp_local.cloud.store import Store

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
            given = self.store.fleet.given_keys(url=issuer_url)
            return self.elsewhere.find(issuer_url, key_id) if given is None else find_key(json.loads(given), key_id)
        issuer = self.store.issuer(rest.removesuffix("/"))
        if issuer is None or not rest.endswith("/"):
            return Signature.ISSUER_UNREACHABLE
        given = self.store.fleet.given_keys(path=issuer.path, name=issuer.name)
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
