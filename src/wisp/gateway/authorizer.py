"""Decide whether the holder of a service account token may use an identity: by two reviews, remembered for seconds.

A TokenReview says who the caller is, a SubjectAccessReview whether RBAC lets the caller use the identity. All who wait
for the same answer share the reviews. Answers are remembered by the token's SHA-256; tokens are not kept.

No identity is given to anybody without both reviews. While the API server does not answer, only what it said before is
used, and for no longer than usual.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar, assert_never

from wisp.base.fair_queue import FairQueue, QueueFullError
from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.gateway.assertion import Examined, digest_of, examine
from wisp.gateway.reviews import Unanswered, access_review, read_access_review, read_token_review, token_review
from wisp.gateway.types import Authorization, Authorized, Caller, Forbidden, Unauthenticated, Undecided
from wisp.kubernetes.types import ApiRequest, ApiResponse, ApiUnavailableError, Requester

REVIEW_SECONDS = 5.0
"""Time limit of one review."""
AUTHORIZE_SECONDS = 8.0
"""How long a caller waits for its turn and both reviews: less than the 9 seconds that a sidecar's exchange may take."""
CONCURRENT_REVIEWS = 32
"""Callers whose reviews are under way at the same time, and connections to the API server that are kept for them.

API servers handle a limited number of requests of all service accounts at the same time, and leave others waiting
(priority level workload-low). This is a small part of it.
"""
_PER_SOURCE = 8
"""Those of one address."""
_WAITING = 512
"""Callers that may wait for their turn."""
REMEMBERED = 10_000
"""Answers that are remembered, positive and negative ones each."""
_SHORTEST_RETRY, _LONGEST_RETRY = 2.0, 15.0
"""Seconds after which callers ask again while the API server does not answer: as long as that has lasted so far."""
_READY_SECONDS = 1.0
"""How long the API server is taken to be ready after it has said so."""

ReviewKind: TypeAlias = Literal["token", "access"]
ReviewResult: TypeAlias = Literal["allowed", "denied", "unavailable"]
ReviewObserver: TypeAlias = Callable[[ReviewKind, ReviewResult, float], None]

_Key: TypeAlias = tuple[bytes, str]
"""A token's digest and a client id."""

_STARTING = Unanswered("it is starting or stopping")

K = TypeVar("K")
V = TypeVar("V")


class AuthorizerOptions(NamedTuple):
    """The audience that callers' tokens must have, and how many seconds answers are remembered."""

    audience: str
    grant_seconds: float = 10.0
    denial_seconds: float = 2.0


class ReviewClocks(NamedTuple):
    """Sources of the time: seconds of a steady clock, and Unix seconds."""

    steady: Callable[[], float] = time.monotonic
    unix: Callable[[], float] = time.time


class _Memory(Generic[K, V]):
    """Values until a time each; at most `REMEMBERED`, of which the oldest goes first."""

    def __init__(self) -> None:
        self._values: dict[K, tuple[V, float]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K, now: float) -> V | None:
        found = self._values.get(key)
        return found[0] if found is not None and now < found[1] else None

    def put(self, key: K, value: V, *, until: float, now: float) -> None:
        if until <= now:
            return
        self._values.pop(key, None)
        self._values[key] = value, until
        for _ in range(2):  # so that more is forgotten than is added
            oldest = next(iter(self._values))
            if self._values[oldest][1] > now and len(self._values) <= REMEMBERED:
                return
            del self._values[oldest]


class _Reviewed(NamedTuple):
    """A caller, when its review was sent, and when its token expires (steady seconds)."""

    caller: Caller
    sent: float
    expires: float


class Authorizer:
    """Ask `api` about callers. `observe` is called for each review with its kind, result and duration."""

    def __init__(
        self,
        api: Requester,
        options: AuthorizerOptions,
        observe: ReviewObserver,
        log: Log,
        clocks: ReviewClocks = ReviewClocks(),  # noqa: B008 -- immutable
    ) -> None:
        self._api = api
        self._audience, self._grant_seconds, self._denial_seconds = options
        self._observe = observe
        self._log = log
        self._now, self._unix = clocks
        self._queue = FairQueue(CONCURRENT_REVIEWS, _PER_SOURCE, _WAITING)
        self._callers: _Memory[bytes, _Reviewed] = _Memory()
        self._strangers: _Memory[bytes, Unauthenticated] = _Memory()
        self._granted: _Memory[_Key, Authorized] = _Memory()
        self._denied: _Memory[_Key, Forbidden] = _Memory()
        self._under_way: dict[_Key, asyncio.Task[Authorization]] = {}
        self._token_reviews: dict[bytes, asyncio.Task[_Reviewed | Unauthenticated | Unanswered]] = {}
        self._failing_since: float | None = None
        self._ready_until = 0.0
        self._readiness: asyncio.Task[bool] | None = None

    def cached(self, assertion: Secret, client_id: str) -> Authorization | None:
        """Return what is remembered of the caller and the identity."""
        digest, now = digest_of(assertion), self._now()
        key = (digest, client_id)
        return self._granted.get(key, now) or self._denied.get(key, now) or self._strangers.get(digest, now)

    def is_granted(self, digest: bytes, client_id: str) -> bool:
        """Tell whether it is remembered that the caller with the token of this SHA-256 may use the identity."""
        return self._granted.get((digest, client_id), self._now()) is not None

    def known_caller(self, assertion: Secret) -> Caller | None:
        """Return who the holder of a token is, if that is remembered."""
        found = self._callers.get(digest_of(assertion), self._now())
        return None if found is None else found.caller

    async def authorize(self, assertion: Secret, client_id: str, source: str) -> Authorization:
        """Ask the API server, once for all who wait for the same. `source` is the address that asks.

        The caller's cancellation does not end the reviews, which others may wait for, too.
        """
        examined = examine(assertion, self._audience, self._unix())
        if isinstance(examined, Unauthenticated):
            return examined
        key = (examined.digest, client_id)
        review = self._under_way.get(key)
        if review is None:
            review = self._under_way[key] = asyncio.create_task(self._in_turn(examined, assertion, client_id, source))
            review.add_done_callback(lambda _: self._under_way.pop(key))
        try:
            async with asyncio.timeout(AUTHORIZE_SECONDS):
                return await asyncio.shield(review)
        except TimeoutError:
            return self._undecided("it did not answer in time")

    async def probe(self) -> str | None:
        """Ask for reviews that nobody needs; return why there is no answer, or None."""
        nobody = Caller("system:anonymous", "", (), ())
        answers = (await self._ask_who(Secret("none")), await self._ask_access(nobody, "none"))
        return next((f"{answer[0]} {answer[1]}" for answer in answers if isinstance(answer, Unanswered)), None)

    def close(self) -> None:
        """End the reviews under way."""
        for task in (*self._under_way.values(), *self._token_reviews.values()):
            task.cancel()
        if self._readiness is not None:
            self._readiness.cancel()

    async def _in_turn(self, examined: Examined, assertion: Secret, client_id: str, source: str) -> Authorization:
        try:
            async with self._queue.turn(source):
                return await self._decide(examined, assertion, client_id)
        except QueueFullError:
            return Undecided("too many callers are being checked", _SHORTEST_RETRY)

    async def _decide(self, examined: Examined, assertion: Secret, client_id: str) -> Authorization:
        """Review who the caller is, unless that is known, and then what it may do."""
        remembered = self._callers.get(examined.digest, self._now())
        who = remembered or await self._shared_token_review(examined, assertion)
        if not isinstance(who, _Reviewed):
            return self._not_reviewed(who)
        sent = self._now()
        answer = await self._ask_access(who.caller, client_id)
        if remembered is not None and self._now() >= who.sent + self._grant_seconds:  # it took so long
            who = await self._shared_token_review(examined, assertion)
            if not isinstance(who, _Reviewed):
                return self._not_reviewed(who)
        now, key = self._now(), (examined.digest, client_id)
        if now >= who.expires:
            return Unauthenticated("it has just expired")
        if isinstance(answer, Unanswered):
            return self._undecided(answer.reason)
        if isinstance(answer, Forbidden):
            self._denied.put(key, answer, until=min(sent + self._denial_seconds, who.expires), now=now)
            return answer
        self._granted.put(key, answer, until=min(who.sent + self._grant_seconds, who.expires), now=now)
        return answer

    def _not_reviewed(self, answer: Unauthenticated | Unanswered) -> Authorization:
        return self._undecided(answer.reason) if isinstance(answer, Unanswered) else answer

    async def _shared_token_review(
        self, examined: Examined, assertion: Secret
    ) -> _Reviewed | Unauthenticated | Unanswered:
        """Ask who the caller is, once for all the identities that it requests."""
        digest = examined.digest
        review = self._token_reviews.get(digest)
        if review is None:
            review = self._token_reviews[digest] = asyncio.create_task(self._review_token(examined, assertion))
            review.add_done_callback(lambda _: self._token_reviews.pop(digest))
        return await review

    async def _review_token(self, examined: Examined, assertion: Secret) -> _Reviewed | Unauthenticated | Unanswered:
        sent = self._now()
        expires = sent + examined.expires_at - self._unix()
        answer = await self._ask_who(assertion)
        now = self._now()
        match answer:
            case Caller():
                who = _Reviewed(answer, sent, expires)
                self._callers.put(examined.digest, who, until=min(sent + self._grant_seconds, expires), now=now)
                return who
            case Unauthenticated():
                self._strangers.put(examined.digest, answer, until=min(sent + self._denial_seconds, expires), now=now)
                return answer
            case Unanswered():
                return answer
            case _:
                assert_never(answer)

    async def _ask_who(self, assertion: Secret) -> Caller | Unauthenticated | Unanswered:
        """Make a TokenReview."""
        sent = self._now()
        response = await self._send(token_review(assertion, self._audience))
        answer = response if isinstance(response, Unanswered) else read_token_review(response, self._audience)
        if isinstance(answer, Unauthenticated) and not await self._is_ready():
            answer = _STARTING
        self._record("token", answer, sent)
        return answer

    async def _ask_access(self, caller: Caller, client_id: str) -> Authorized | Forbidden | Unanswered:
        """Make a SubjectAccessReview."""
        sent = self._now()
        response = await self._send(access_review(caller, client_id))
        answer = response if isinstance(response, Unanswered) else read_access_review(response, caller)
        if isinstance(answer, Forbidden) and not await self._is_ready():
            answer = _STARTING
        self._record("access", answer, sent)
        return answer

    async def _send(self, request: ApiRequest) -> ApiResponse | Unanswered:
        try:
            return await self._api.request(request, REVIEW_SECONDS)
        except ApiUnavailableError as error:
            return Unanswered(str(error))

    def _record(self, kind: ReviewKind, answer: NamedTuple, sent: float) -> None:
        """Count a review, and remember how long the API server has not been answering."""
        result: ReviewResult = "denied" if isinstance(answer, Unauthenticated | Forbidden) else "allowed"
        if isinstance(answer, Unanswered):
            result = "unavailable"
            self._log.warning("review failed", kind=kind, reason=answer.reason, detail=answer.detail)
        if result != "unavailable":
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = sent
        self._observe(kind, result, self._now() - sent)

    async def _is_ready(self) -> bool:
        """Return whether the API server is ready, so that a denial of its counts. Ask it once for all who wait.

        While it starts, it does not know all pods, roles and bindings yet, and denies what RBAC allows. If the gateway
        may not read whether it is ready, a denial counts.
        """
        if self._now() < self._ready_until:
            return True
        if self._readiness is None or self._readiness.done():
            self._readiness = asyncio.create_task(self._ask_readiness())
        return await asyncio.shield(self._readiness)

    async def _ask_readiness(self) -> bool:
        asked = self._now()
        response = await self._send(ApiRequest("/readyz"))
        if isinstance(response, Unanswered) or response.status >= 500 or response.status == 429:
            return False
        self._ready_until = asked + _READY_SECONDS
        return True

    def _undecided(self, reason: str) -> Undecided:
        lasting = 0.0 if self._failing_since is None else self._now() - self._failing_since
        return Undecided(f"the API server gave no answer: {reason}", min(max(lasting, _SHORTEST_RETRY), _LONGEST_RETRY))
