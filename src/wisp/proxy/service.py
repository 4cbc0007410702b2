"""The token service: answers the metadata service's requests from the token store. Does no I/O itself."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeVar

from wisp.entra.freshness import Token
from wisp.entra.messages import Ask, Refused
from wisp.entra.tokens import TokenStore
from wisp.http.epoll_peer import Source
from wisp.http.head import Reject, Request
from wisp.http.response import Response
from wisp.imds.answer import Grant, app_service_error_body, error_body, token_frame
from wisp.imds.checks import deciding_fields
from wisp.imds.decision import Decision, PassOn, Refuse, Selector, TokenRequest
from wisp.imds.dialects import IDENTITY_HEADERS
from wisp.imds.identities import Identities, Meaning, refusal_of
from wisp.imds.passthrough import Forward, Returned, judge
from wisp.imds.request import decide
from wisp.proxy.log import Log
from wisp.proxy.metrics import CONTENT_TYPE, Metrics

_MOST_REMEMBERED = 64
_LONGEST_REMEMBERED = 2048
"""Bytes of a request's target and headers: with the number above, what is remembered of requests stays under 0.3 MB."""
_MOST_RENDERED = 8
_LONGEST_RENDERED = 16 * 1024
"""Bytes of an answer; a token has 2,000 as a rule."""
_REQUEST_ID = b"x-ms-client-request-id"
_LONGEST_REQUEST_ID = 128
_REQUEST_ID_BYTES = frozenset(range(0x21, 0x7F))
_NOT_STORED = b"Cache-Control: no-store\r\n"  # RFC 6749 §5.1
_NOT_THE_PODS = frozenset({700016, 70021, 70025, 700211, 700212, 700213, 7002138})
"""AADSTS codes of an identity that is not in the tenant, or not federated with the pod's service account."""

K = TypeVar("K")
V = TypeVar("V")
Reply: TypeAlias = Callable[[Response], None]


class Beside(NamedTuple):
    """What there is to be had besides tokens."""

    pages: Callable[[str], Response | None]
    """Gives the page about the sidecar at a path, None where there is none; /metrics is the token service's own."""
    passed: tuple[str, ...]
    """What of the node's metadata service is passed on: some of `wisp.imds.passthrough.NAMES`."""
    pass_on: Callable[[Forward | Returned, Request], Response | Source]
    """Sends a request on, or explains why it came back; returns the answer, or where it will come from."""


class Page(NamedTuple):
    """The request is for a page about the sidecar itself; `path` is in the spelling of `canonical`."""

    path: str


class Renewal(NamedTuple):
    """The client may not want the token that there is."""

    ask: Ask
    newer: bool
    """Whether it wants a newer one if Entra gives one (bypass_cache, or a claims challenge)."""
    digest: str
    """The SHA-256 of a token that a resource rejected and nobody is to get again; empty if the client names none."""


class Inquiry(NamedTuple):
    """The client selects by names that may be those of an identity: its token, which `ask` is for, will tell."""

    ask: Ask
    selectors: tuple[Selector, ...]
    newer: bool
    digest: str
    """As in a renewal."""
    refusal: Refuse
    """What the client hears if the names are others."""


Route: TypeAlias = Ask | Renewal | Inquiry | Refuse | Page | PassOn


class _Rendered(NamedTuple):
    """A token's answer, good for one second of the steady clock."""

    token: Token
    second: int
    frame: tuple[bytes, bytes, bytes]
    response: Response


class TokenService:
    """Answer requests from `store` for the pod's `identities`; what is `beside` that is answered elsewhere."""

    def __init__(self, store: TokenStore, identities: Identities, metrics: Metrics, log: Log, beside: Beside) -> None:
        self._store = store
        self._identities = identities
        self._metrics = metrics
        self._log = log
        self._beside = beside
        self._routes: dict[Request, Route] = {}
        self._decided: dict[tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...]], Route] = {}
        self._rendered: dict[Ask, _Rendered] = {}
        self._refusals: dict[tuple[Refuse, bool], Response] = {}

    def answer(self, request: Request, reply: Reply) -> Response | Source | None:
        """Return the response to `request`, or its source; or None and call `reply` with it later."""
        route = self._routes.get(request) or self._route(request)
        if isinstance(route, Ask):
            token = self._store.fresh(route)
            if token is None:
                return self._ask(route, request, reply)
            self._metrics.cache_hits += 1
            return self._granted(route, token, request)
        if isinstance(route, Renewal):
            if route.digest:
                self._revoke(route.ask, route.digest)
            return self._ask(route.ask, request, reply, renew=route.newer)
        if isinstance(route, Inquiry):
            return self._inquire(route, request, reply)
        if isinstance(route, Refuse):
            return self._refuse(route, request)
        return self._pass_on(request) if isinstance(route, PassOn) else self._page(route, request)

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are no request we serve."""
        self._metrics.requests["rejected"] += 1
        self._log.info("request rejected", status=reject.status, reason=reject.reason)
        headers = b"Allow: GET, POST\r\n" if reject.status == 405 else b""
        return Response(reject.status, error_body("invalid_request", reject.reason), headers=headers)

    def _route(self, request: Request) -> Route:
        """Decide once what a request means; a workload repeats itself, so the decision is remembered.

        Some SDKs give every request an id of its own: those are known again by the parts that decide.
        """
        if request.body or _size(request) > _LONGEST_REMEMBERED:
            return self._decide(request)
        parts = (request.method, request.target, deciding_fields(request))
        route = self._decided.get(parts)
        if route is None:
            route = self._decide(request)
            _remember(self._decided, parts, route)
        if request.header(_REQUEST_ID) is None:
            _remember(self._routes, request, route)
        return route

    def _decide(self, request: Request) -> Route:
        identities = self._identities
        return self._resolved(decide(request, identities.header, header_required=identities.header_required))

    def _resolved(self, decision: Decision) -> Route:
        if isinstance(decision, TokenRequest):
            return self._token_route(decision)
        if isinstance(decision, PassOn) and (
            decision.path == "/metrics" or self._beside.pages(decision.path) is not None
        ):
            return Page(decision.path)
        return decision

    def _token_route(self, wanted: TokenRequest) -> Route:
        selectors = tuple(named.selector for named in wanted.selectors)
        if not selectors and wanted.selector is not None:
            selectors = (wanted.selector,)
        meaning = self._identities.meaning_of(selectors)
        if meaning.client_id is None:
            return refusal_of(wanted.selectors)
        ask = Ask(meaning.client_id, wanted.resource, wanted.capabilities)
        if not meaning.certain:
            return Inquiry(ask, selectors, wanted.renew, wanted.revoked, refusal_of(wanted.selectors))
        return Renewal(ask, wanted.renew, wanted.revoked) if wanted.renew or wanted.revoked else ask

    def _pass_on(self, request: Request) -> Response | Source:
        """Judge every request anew: more of its headers count, and those of one are not to go with another."""
        judged = judge(request, self._beside.passed)
        return self._refuse(judged, request) if isinstance(judged, Refuse) else self._beside.pass_on(judged, request)

    def _ask(self, ask: Ask, request: Request, reply: Reply, *, renew: bool = False) -> Response | None:
        waiting = _for_answer(request)
        outcome = self._store.ask(ask, lambda outcome: reply(self._outcome(ask, outcome, waiting)), renew=renew)
        if outcome is None:
            return None
        self._metrics.cache_hits += 1
        return self._outcome(ask, outcome, request)

    def _revoke(self, ask: Ask, digest: str) -> None:
        if self._store.revoke(ask, digest):
            self._log.info("token revoked", client_id=ask.client_id, resource=ask.resource)

    def _inquire(self, inquiry: Inquiry, request: Request, reply: Reply) -> Response | None:
        waiting = _for_answer(request)

        def told(outcome: Token | Refused) -> Response:
            return self._told(inquiry, outcome, waiting)

        if inquiry.digest:
            self._revoke(inquiry.ask, inquiry.digest)
        outcome = self._store.ask(inquiry.ask, lambda outcome: reply(told(outcome)), renew=inquiry.newer)
        return None if outcome is None else told(outcome)

    def _told(self, inquiry: Inquiry, outcome: Token | Refused, request: Request) -> Response:
        """Give the client the token if that says that it is of the identity which was selected."""
        if isinstance(outcome, Token):
            self._learn(inquiry.ask, outcome)
            if self._identities.meaning_of(inquiry.selectors) != Meaning(inquiry.ask.client_id):
                return self._refuse(inquiry.refusal, request)
        return self._outcome(inquiry.ask, outcome, request)

    def _outcome(self, ask: Ask, outcome: Token | Refused, request: Request) -> Response:
        if isinstance(outcome, Refused):
            return self._refused(self._of_another(ask, outcome), request)
        return self._granted(ask, outcome, request)

    def _granted(self, ask: Ask, token: Token, request: Request) -> Response:
        self._metrics.requests["token"] += 1
        if self._log.debugs:
            self._log.debug("token answered", client_id=ask.client_id, resource=ask.resource)
        second = self._store.second()
        known = self._rendered.get(ask)
        if known is None or known.token is not token or known.second != second:
            known = self._render(ask, token, second)
        return echoing(known.response, request)

    def _render(self, ask: Ask, token: Token, second: int) -> _Rendered:
        """Render the answer for this second."""
        known = self._rendered.get(ask)
        if known is None or known.token is not token:
            grant = Grant(ask.client_id, ask.resource, token.expires_on, token.not_before)
            frame = token_frame(token.access_token.reveal(), grant)
            self._learn(ask, token)
        else:
            frame = known.frame
        lifetime = b"%d" % max(0, int(token.expires_at) - second)
        rendered = _Rendered(token, second, frame, Response(200, lifetime.join(frame), headers=_NOT_STORED))
        if len(rendered.response.body) <= _LONGEST_RENDERED:
            _remember(self._rendered, ask, rendered, most=_MOST_RENDERED)
        return rendered

    def _learn(self, ask: Ask, token: Token) -> None:
        if self._identities.learn(ask.client_id, token.object_id, token.resource_id):
            self._routes.clear()  # what was not found may be now
            self._decided.clear()

    def _of_another(self, ask: Ask, refused: Refused) -> Refused:
        """Say that an identity which the client named, and the pod has no right to, is not found, with Entra's reason.

        SDKs know the words: they go on to the next credential of their chain.
        """
        if ask.client_id == self._identities.default or refused.aadsts not in _NOT_THE_PODS:
            return refused
        return refused._replace(
            status=400, error="invalid_request", description=f"Identity not found: {refused.description}"
        )

    def _refused(self, refused: Refused, request: Request) -> Response:
        """Tell the client what Entra said; when to ask again is part of it."""
        self._metrics.requests["failed" if refused.passing else "refused"] += 1
        headers = b""
        if refused.passing:
            wait = round(refused.retry_after or 1, 3)  # the difference of two times can be 30.0000000000005 for 30
            headers = b"Retry-After: %d\r\n" % max(1, -int(-wait // 1))  # rounded up
        body = _error(refused, of_app_service=_is_of_app_service(request))
        return echoing(Response(refused.status, body, headers=headers), request)

    def _refuse(self, refuse: Refuse, request: Request) -> Response:
        self._metrics.requests["refused"] += 1
        self._log.info("request refused", status=refuse.status, reason=refuse.description)
        of_app_service = _is_of_app_service(request)
        known = self._refusals.get((refuse, of_app_service))  # probes are refused again and again, in the same words
        if known is None:
            headers = b"" if refuse.allow is None else f"Allow: {refuse.allow}\r\n".encode()
            known = Response(refuse.status, _error(refuse, of_app_service=of_app_service), headers=headers)
            _remember(self._refusals, (refuse, of_app_service), known, most=_MOST_RENDERED)
        return echoing(known, request)

    def _page(self, page: Page, request: Request) -> Response:
        if request.method not in (b"GET", b"HEAD"):
            return self._refuse(Refuse(405, "method_not_allowed", "This page takes GET only", "GET, HEAD"), request)
        known = self._beside.pages(page.path)
        if known is not None:
            return known
        self._metrics.requests["other"] += 1
        expiry = self._store.earliest_expiry()
        return Response(200, self._metrics.render(tokens=len(self._store), earliest_expiry=expiry), CONTENT_TYPE)


def _remember(known: dict[K, V], key: K, value: V, *, most: int = _MOST_REMEMBERED) -> None:
    """Keep `value`, and at most so many: what is asked for again comes back by itself."""
    if len(known) >= most and key not in known:
        known.clear()
    known[key] = value


def _for_answer(request: Request) -> Request:
    """Return what the answer depends on: hundreds of requests may wait, with bodies and heads of 80 KiB each."""
    headers = tuple(field for field in request.headers if field[0] == _REQUEST_ID or field[0] in IDENTITY_HEADERS)
    return request._replace(target=b"", headers=headers, body=b"")


def _is_of_app_service(request: Request) -> bool:
    """Say whether `request` is in a dialect of App Service."""
    return any(name in IDENTITY_HEADERS for name, _ in request.headers)


def _error(refusal: Refuse | Refused, *, of_app_service: bool) -> bytes:
    """Return an error's body in the dialect of who asked."""
    if of_app_service:
        return app_service_error_body(refusal.status, refusal.error, refusal.description)
    return error_body(refusal.error, refusal.description)


def _size(request: Request) -> int:
    return len(request.target) + sum(len(name) + len(value) for name, value in request.headers)


def echoing(response: Response, request: Request) -> Response:
    """Give the client its request id back, as Azure's services do; what is not shaped like one is not repeated."""
    identifier = request.header(_REQUEST_ID)
    if identifier is None or len(identifier) > _LONGEST_REQUEST_ID or not _REQUEST_ID_BYTES.issuperset(identifier):
        return response
    headers = response.headers + b"x-ms-client-request-id: " + identifier + b"\r\n"
    return Response(response.status, response.body, response.content_type, headers)
