"""Verifies access tokens as a resource server does: with the keys that the issuer publishes, found by discovery."""

import json
import typing
from dataclasses import dataclass
from pathlib import Path

import urllib3
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from wisp.base.errors import WispError
from wisp.base.secret import Secret

_TIMEOUT = 10  # seconds
_HINT = "report it: wisp is wrong"


@dataclass(frozen=True)
class Verified:
    """What a token says whose signature and time are right."""

    header: dict[str, object]
    claims: dict[str, object]


class Verifier:
    """Verifies with `keys`, which are published at `keys_url`."""

    def __init__(self, keys_url: str, keys: KeySet) -> None:
        self.keys_url = keys_url
        self._keys = keys

    @classmethod
    def published(cls, authority: str, ca_file: Path) -> typing.Self:
        """Fetch the keys of the tenant at `authority` (https, ends in a slash), trusting `ca_file` only.

        Raises WispError.
        """
        with urllib3.PoolManager(ca_certs=str(ca_file), timeout=_TIMEOUT, retries=False) as pool:
            keys_url = str(_fetch(pool, f"{authority}.well-known/openid-configuration").get("jwks_uri"))
            document = _fetch(pool, keys_url)
        try:
            return cls(keys_url, KeySet.import_key_set(typing.cast("KeySetSerialization", document)))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise WispError(f"{keys_url} holds no keys ({error})", hint=_HINT) from error

    def verify(self, token: Secret, now: float) -> Verified:
        """Return what `token` says; raises WispError when it is not valid at `now` (Unix seconds)."""
        try:
            decoded = jwt.decode(token.reveal(), self._keys, algorithms=["RS256"])
            rules = jwt.JWTClaimsRegistry(now=lambda: int(now), exp={"essential": True}, nbf={"essential": True})
            rules.validate(decoded.claims)
        except (JoseError, ValueError) as error:
            raise WispError(f"the token is not valid ({error})", hint=_HINT) from error
        return Verified(dict(decoded.header), dict(decoded.claims))


def _fetch(pool: urllib3.PoolManager, url: str) -> dict[str, object]:
    try:
        answer = pool.request("GET", url)
        document = json.loads(answer.data)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise WispError(f"{url} cannot be fetched ({error})", hint=_HINT) from error
    if answer.status != 200 or not isinstance(document, dict):
        raise WispError(f"{url} answered {answer.status}", hint=_HINT)
    return document
