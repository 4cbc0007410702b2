"""Answer admission reviews: parse one, get the service account, let `wisp.admission` decide, encode the answer."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from wisp.admission.policy import Policy
from wisp.admission.review import (
    AccountRef,
    Decision,
    Refuse,
    Review,
    ReviewError,
    account_ref,
    answer,
    decide,
    read_review,
    required_account,
)
from wisp.base.errors import origin_of
from wisp.base.log import Log
from wisp.http.messages import JSON, TEXT, Reject, Request, Response
from wisp.webhook.accounts import AccountMissing, AccountUnknown, ServiceAccount, ServiceAccounts
from wisp.webhook.metrics import WebhookMetrics
from wisp.webhook.review_cache import REVIEW_LIMIT, CachedAnswer, Key, ReviewCache, key_of, split

PATH = b"/mutate-v1-pod"

_encode = msgspec.json.Encoder().encode


class Reviews:
    """The application of the TLS listener. `clock` gives monotonic seconds."""

    def __init__(
        self,
        accounts: ServiceAccounts,
        policy: Policy,
        metrics: WebhookMetrics,
        log: Log,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._accounts = accounts
        self._policy = policy
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._cache = ReviewCache()

    @property
    def policy(self) -> Policy:
        """The cluster's policy. Cached answers do not survive a change of it."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._cache.clear()

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer at once if no service account has to be read."""
        started = self._clock()
        if request.target.partition(b"?")[0] != PATH:
            return self._reject(404, "only reviews are answered here, at " + PATH.decode())
        if request.method != b"POST":
            return self._reject(405, "a review is sent by POST", b"Allow: POST\r\n")
        try:
            return self._review(request.body, started)
        except ReviewError as error:
            return self._reject(400, str(error))
        except Exception as error:  # noqa: BLE001 -- for any bug the API server gets an answer, and the process goes on
            return self._fail(error, started)

    def rejected(self, reject: Reject) -> Response:
        """Answer bytes that are not a request."""
        return self._reject(reject.status, reject.reason)

    def _review(self, body: bytes, started: float) -> Response | Awaitable[Response]:
        known = self._cache.find_text(body)
        if known is not None and (response := self._from_cache(*known, started)) is not None:
            return response
        review = read_review(body)
        key = key_of(review) if len(body) <= REVIEW_LIMIT else None
        if key is not None:
            cached = self._cache.find(key)
            if cached is not None and (response := self._from_cache(review.uid, cached, started)) is not None:
                self._cache.add_text(body, review.uid, key)
                return response
        required = required_account(review)
        if required is None:
            return self._decide(review, self._cached_account(account_ref(review)), started, key)
        account = self._accounts.get(required.namespace, required.name)
        if account is None:
            return self._look_up_and_decide(review, required, started)
        return self._decide(review, account, started, key)

    def _from_cache(self, uid: str, cached: CachedAnswer, started: float) -> Response | None:
        """Return the cached answer unless the service account has changed."""
        if self._cached_account(cached.runs_as) is not cached.account:
            return None
        return self._response(cached.with_uid(uid), cached.result, started)

    def _cached_account(self, account: AccountRef | None) -> ServiceAccount | None:
        return None if account is None else self._accounts.cached(account.namespace, account.name)

    async def _look_up_and_decide(self, review: Review, required: AccountRef, started: float) -> Response:
        try:
            self._metrics.lookups += 1
            found = await self._accounts.look_up(required.namespace, required.name)
            if not isinstance(found, AccountUnknown):
                return self._decide(review, None if isinstance(found, AccountMissing) else found, started)
            self._metrics.lookup_failures += 1
            self._log.warning("account unknown", namespace=required.namespace, name=required.name, reason=found.reason)
            # Refused in the review itself, so that no pod is admitted without its identity, whatever the failurePolicy.
            message = (
                f'the service account "{required.name}" in namespace "{required.namespace}" cannot be read at the '
                f"moment ({found.reason}): try again"
            )
            return self._response(_encode(answer(review, Refuse(503, message))), "unavailable", started)
        except Exception as error:  # noqa: BLE001 -- as in `answer`
            return self._fail(error, started)

    def _decide(
        self, review: Review, account: dict[str, Any] | None, started: float, key: Key | None = None
    ) -> Response:
        decision: Decision = decide(review, account, self._policy)
        body = _encode(answer(review, decision))
        if isinstance(decision, Refuse):
            self._log.info("pod refused", namespace=review.namespace, uid=review.uid, reason=decision.message)
            return self._response(body, "unavailable" if decision.code == 503 else "refused", started)
        result = "changed" if decision.patch else "unchanged"
        if key is not None and (halves := split(body, review.uid)) is not None:
            self._cache.add(key, CachedAnswer(account_ref(review), account, result, *halves))
        return self._response(body, result, started)

    def _response(self, body: bytes, result: str, started: float) -> Response:
        self._metrics.reviews[result] += 1
        self._metrics.durations.observe(self._clock() - started)
        return Response(200, body, JSON)

    def _reject(self, status: int, reason: str, headers: bytes = b"") -> Response:
        self._metrics.reviews["rejected"] += 1
        self._log.info("request rejected", status=status, reason=reason)
        return Response(status, f"wisp: {reason}\n".encode(), TEXT, headers)

    def _fail(self, error: Exception, started: float) -> Response:
        self._metrics.reviews["failed"] += 1
        self._metrics.durations.observe(self._clock() - started)
        self._log.warning("review failed", error=type(error).__name__, where=origin_of(error))
        return Response(500, b"wisp: an error in the webhook itself; its log says where\n", TEXT)
