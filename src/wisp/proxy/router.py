"""Decide which of the sidecar's endpoints answers a request. Decisions about repeated requests are remembered."""

from typing import NamedTuple, TypeAlias, TypeVar

from wisp.entra.messages import TokenKey
from wisp.http.messages import Request
from wisp.imds.answer import Refusal
from wisp.imds.identities import Identities, refusal_of
from wisp.imds.request import OtherPath, Selector, TokenRequest, decide, decisive_fields

REQUEST_ID = b"x-ms-client-request-id"

_MOST_REMEMBERED = 64
_LONGEST_REMEMBERED = 2048
"""Bytes of a request's target and headers: with the number above, the remembered requests take less than 0.3 MB."""

K = TypeVar("K")
V = TypeVar("V")


class CheckedToken(NamedTuple):
    """A token that cannot simply be taken from the store: it may be rejected, too old, or another identity's."""

    key: TokenKey
    renew: bool = False
    """Whether the client wants a newer one if Entra gives one (bypass_cache, or a claims challenge)."""
    revoked: str = ""
    """The SHA-256 of a token that a resource rejected and nobody may get again; empty if the client names none."""
    selectors: tuple[Selector, ...] = ()
    """Names that may be those of the identity: its token will tell. Empty if the identity is known."""
    refusal: Refusal | None = None
    """The answer if the names turn out to be another identity's."""


Route: TypeAlias = TokenKey | CheckedToken | Refusal | OtherPath
"""A token from the store; one that needs more; an error; a page about the sidecar, or a request to forward."""


class Router:
    """Route requests for the pod's `identities`."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._routes: dict[Request, Route] = {}
        self._routes_by_fields: dict[tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...]], Route] = {}

    def route(self, request: Request) -> Route:
        """Return the route of `request`.

        A workload repeats itself, so routes are remembered: by the whole request; and, because some SDKs give every
        request an id of its own, by the fields that decide.
        """
        route = self._routes.get(request)
        if route is not None:
            return route
        size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
        if request.body or size > _LONGEST_REMEMBERED:
            return self._decide(request)
        fields = (request.method, request.target, decisive_fields(request))
        route = self._routes_by_fields.get(fields)
        if route is None:
            route = self._decide(request)
            remember(self._routes_by_fields, fields, route)
        if request.header(REQUEST_ID) is None:
            remember(self._routes, request, route)
        return route

    def forget(self) -> None:
        """Forget all routes: a name that was not found may be known now."""
        self._routes.clear()
        self._routes_by_fields.clear()

    def _decide(self, request: Request) -> Route:
        identities = self._identities
        decision = decide(request, identities.header, header_required=identities.header_required)
        return self._token_route(decision) if isinstance(decision, TokenRequest) else decision

    def _token_route(self, request: TokenRequest) -> TokenKey | CheckedToken | Refusal:
        selectors = tuple(selector for _, selector in request.selectors)
        if not selectors and request.selector is not None:
            selectors = (request.selector,)
        identity = self._identities.resolve(selectors)
        if identity.client_id is None:
            return refusal_of(request.selectors)
        key = TokenKey(identity.client_id, request.resource, request.capabilities)
        if not identity.certain:
            return CheckedToken(key, request.renew, request.revoked, selectors, refusal_of(request.selectors))
        return CheckedToken(key, request.renew, request.revoked) if request.renew or request.revoked else key


def remember(known: dict[K, V], key: K, value: V, *, most: int = _MOST_REMEMBERED) -> None:
    """Store `value`, and at most `most` values: an entry that is still in use comes back by itself."""
    if len(known) >= most and key not in known:
        known.clear()
    known[key] = value
