"""Serve requests from the token store. Performs no I/O itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from wisp.base.log import Log
from wisp.base.metrics import CONTENT_TYPE
from wisp.entra.freshness import Token
from wisp.entra.messages import Refused, TokenKey
from wisp.entra.tokens import TokenStore
from wisp.http.connection import Source
from wisp.http.messages import Reject, Request, Response
from wisp.imds.answer import Refusal, error_body
from wisp.imds.identities import Identities, Resolution
from wisp.imds.request import HEALTH_PATHS
from wisp.proxy.metrics import Metrics
from wisp.proxy.renderer import Renderer, essentials, with_request_id
from wisp.proxy.router import CheckedToken, Router

if TYPE_CHECKING:
    from wisp.imds.passthrough import AlreadyForwarded, ForwardedRequest

_NOT_THE_PODS = frozenset({700016, 70021, 70025, 700211, 700212, 700213, 7002138})
"""AADSTS codes of an identity that is not in the tenant, or not federated with the pod's service account."""

_PAGES = (*HEALTH_PATHS, "/metrics")

Reply: TypeAlias = Callable[[Response], None]


class OtherEndpoints:
    """Endpoints other than the token endpoint.

    `health` returns the health page at a path, or None for /metrics, which the token service serves. `allowed` are some
    of `wisp.imds.passthrough.NAMES`. `forward` forwards a request to the node's metadata service, or explains why it
    came back; it returns the response, or its source.
    """

    def __init__(
        self,
        health: Callable[[str], Response | None],
        allowed: tuple[str, ...],
        forward: "Callable[[ForwardedRequest | AlreadyForwarded, Request], Response | Source]",
    ) -> None:
        self.health = health
        self.allowed = allowed
        self.forward = forward


class TokenService:
    """Answer requests from `store` for the pod's `identities`, and pass the others to `endpoints`."""

    def __init__(
        self, store: TokenStore, identities: Identities, metrics: Metrics, log: Log, endpoints: OtherEndpoints
    ) -> None:
        self._store = store
        self._identities = identities
        self._metrics = metrics
        self._log = log
        self._endpoints = endpoints
        self._router = Router(identities)
        self._renderer = Renderer()

    def answer(self, request: Request, reply: Reply) -> Response | Source | None:
        """Return the response to `request`, or its source; or None and call `reply` with it later."""
        route = self._router.route(request)
        if isinstance(route, TokenKey):
            token = self._store.fresh(route)
            if token is None:
                return self._request_token(CheckedToken(route), request, reply)
            self._metrics.cache_hits += 1
            return self._grant(route, token, request)
        if isinstance(route, CheckedToken):
            return self._request_token(route, request, reply)
        if isinstance(route, Refusal):
            return self._refuse(route, request)
        return self._serve_page(route.path, request) if route.path in _PAGES else self._forward(request)

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are not a request we serve."""
        self._metrics.requests["rejected"] += 1
        self._log.info("request rejected", status=reject.status, reason=reject.reason)
        headers = b"Allow: GET, POST\r\n" if reject.status == 405 else b""
        return Response(reject.status, error_body("invalid_request", reject.reason), headers=headers)

    def _request_token(self, route: CheckedToken, request: Request, reply: Reply) -> Response | None:
        """Request the token from the store, which may have to wait for an exchange."""
        key, client = route.key, essentials(request)
        if route.revoked and self._store.revoke(key, route.revoked):
            self._log.info("token revoked", client_id=key.client_id, resource=key.resource)
        outcome = self._store.request(
            key, lambda outcome: reply(self._respond(route, outcome, client)), renew=route.renew
        )
        if outcome is None:
            return None
        if not route.selectors:
            self._metrics.cache_hits += 1
        return self._respond(route, outcome, client)

    def _respond(self, route: CheckedToken, outcome: Token | Refused, client: Request) -> Response:
        """Return the response with a token, if it is of the identity that was selected, or with the failure."""
        if isinstance(outcome, Refused):
            return self._fail(route.key, outcome, client)
        if route.refusal is not None:
            self._learn_names(route.key, outcome)
            if self._identities.resolve(route.selectors) != Resolution(route.key.client_id):
                return self._refuse(route.refusal, client)
        return self._grant(route.key, outcome, client)

    def _grant(self, key: TokenKey, token: Token, client: Request) -> Response:
        self._metrics.requests["token"] += 1
        if self._log.debugs:
            self._log.debug("token answered", client_id=key.client_id, resource=key.resource)
        second = self._store.second()
        response = self._renderer.find_token(key, token, second)
        if response is None:
            self._learn_names(key, token)
            response = self._renderer.token(key, token, second)
        return with_request_id(response, client)

    def _learn_names(self, key: TokenKey, token: Token) -> None:
        """Remember the names that a token gives its identity."""
        if self._identities.learn(key.client_id, token.object_id, token.resource_id):
            self._router.forget()

    def _fail(self, key: TokenKey, refused: Refused, client: Request) -> Response:
        """Return the response with what Entra said.

        An identity that the client selected and Entra rejects is reported as "Identity not found", with Entra's reason.
        Azure SDKs recognise this text and try the next credential in their chain.
        """
        if key.client_id != self._identities.default and refused.aadsts in _NOT_THE_PODS:
            description = f"Identity not found: {refused.description}"
            refused = refused._replace(status=400, error="invalid_request", description=description)
        self._metrics.requests["failed" if refused.passing else "refused"] += 1
        return self._renderer.failure(refused, client)

    def _refuse(self, refusal: Refusal, request: Request) -> Response:
        self._metrics.requests["refused"] += 1
        self._log.info("request refused", status=refusal.status, reason=refusal.description)
        return self._renderer.refusal(refusal, request)

    def _serve_page(self, path: str, request: Request) -> Response:
        if request.method not in (b"GET", b"HEAD"):
            return self._refuse(Refusal(405, "method_not_allowed", "This page takes GET only", "GET, HEAD"), request)
        page = self._endpoints.health(path)
        if page is not None:
            return page
        self._metrics.requests["other"] += 1
        expiry = self._store.earliest_expiry()
        return Response(200, self._metrics.render(tokens=len(self._store), earliest_expiry=expiry), CONTENT_TYPE)

    def _forward(self, request: Request) -> Response | Source:
        """Forward a request if that is allowed. Nothing is remembered: more of its headers matter than of others'."""
        from wisp.imds.passthrough import judge  # noqa: PLC0415 -- most pods only request tokens

        decision = judge(request, self._endpoints.allowed)
        if isinstance(decision, Refusal):
            return self._refuse(decision, request)
        return self._endpoints.forward(decision, request)
