"""Remember what granted token requests ask for: clients without a cache repeat them to the byte, but for their id.

A request is known by its SHA-256, and its assertion is not kept: whether the caller may use the identity is looked up
each time.
"""

from hashlib import sha256
from typing import NamedTuple

from wisp.base.secret import Secret
from wisp.entra.messages import TokenKey
from wisp.gateway.assertion import digest_of
from wisp.gateway.audit import GrantLine
from wisp.gateway.request import Fields
from wisp.gateway.types import Caller, TokenForm
from wisp.http.messages import Request

REMEMBERED = 1024
"""Requests that are remembered: 2 MB at most."""


class KnownRequest(NamedTuple):
    """What a request asks for, and who sends it. The assertion of `form` is empty."""

    form: TokenForm
    key: TokenKey
    assertion_digest: bytes
    caller: Caller
    line: GrantLine


class RepeatedRequests:
    """Requests that were granted. The one that was remembered first is forgotten first."""

    def __init__(self) -> None:
        self._known: dict[bytes, KnownRequest] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, request: Request, headers: Fields) -> KnownRequest | None:
        """Return what is known of a request with these `headers`."""
        return self._known.get(_digest(request, headers))

    def remember(self, request: Request, form: TokenForm, caller: Caller, line: GrantLine) -> None:
        """Remember a request that was granted."""
        digest, key = digest_of(form.assertion), token_key(form)
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[_digest(request, dict(request.headers))] = KnownRequest(
            form._replace(assertion=_EMPTY), key, digest, caller, line
        )


_EMPTY = Secret("")


def token_key(form: TokenForm) -> TokenKey:
    """Return the key of the token that is requested."""
    return TokenKey(form.client_id, form.scope, "", form.tenant, form.claims)


def _digest(request: Request, headers: Fields) -> bytes:
    """Return the SHA-256 of everything that decides about a grant, except for Cache-Control."""
    method, target, _, body, _, _, source = request
    parts = (method, target, headers.get(b"content-type", b""), source.encode(), body)
    return sha256(b"\n".join(parts)).digest()
