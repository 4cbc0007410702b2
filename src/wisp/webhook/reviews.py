"""Answers admission reviews: reads one, gets the service account, has `wisp.admission` decide, writes the answer."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from wisp.admission.contract import Policy
from wisp.admission.review import (
    AccountRef,
    Admit,
    Refuse,
    Review,
    ReviewError,
    account_of,
    account_wanted,
    answer,
    decide,
    read,
)
from wisp.base.log import Log
from wisp.http.messages import JSON, TEXT, Reject, Request, Response
from wisp.webhook.accounts import Absent, Accounts, Unknown
from wisp.webhook.memo import LARGEST, Key, Memo, Remembered, joined, key_of, split
from wisp.webhook.metrics import Metrics

PATH = b"/mutate-v1-pod"

_encode = msgspec.json.Encoder().encode


class Reviews:
    """The application of the TLS listener; `clock` gives steady seconds."""

    def __init__(
        self,
        accounts: Accounts,
        policy: Policy,
        metrics: Metrics,
        log: Log,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._accounts = accounts
        self._policy = policy
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._memo = Memo()

    @property
    def policy(self) -> Policy:
        """What the cluster says about admission."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._memo.clear()

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer at once where the account is at hand."""
        begun = self._clock()
        if request.target.partition(b"?")[0] != PATH:
            return self._rejected(404, "only reviews are answered here, at " + PATH.decode())
        if request.method != b"POST":
            return self._rejected(405, "a review is sent by POST", b"Allow: POST\r\n")
        try:
            return self._answer(request.body, begun)
        except ReviewError as error:
            return self._rejected(400, str(error))
        except Exception as error:  # noqa: BLE001 -- whatever it is, the API server gets an answer and we go on
            return self._failed(error, begun)

    def rejected(self, reject: Reject) -> Response:
        """Answer bytes that are no request."""
        return self._rejected(reject.status, reject.reason)

    def _answer(self, body: bytes, begun: float) -> Response | Awaitable[Response]:
        known = self._memo.find_text(body)
        if known is not None and (response := self._remembered(*known, begun)) is not None:
            return response
        review = read(body)
        key = key_of(review) if len(body) <= LARGEST else None
        if key is not None:
            remembered = self._memo.find(key)
            if remembered is not None and (response := self._remembered(review.uid, remembered, begun)) is not None:
                self._memo.know_text(body, review.uid, key)
                return response
        wanted = account_wanted(review)
        if wanted is None:
            return self._decided(review, self._held(account_of(review)), begun, key)
        account = self._accounts.get(wanted.namespace, wanted.name)
        return self._later(review, wanted, begun) if account is None else self._decided(review, account, begun, key)

    def _remembered(self, uid: str, remembered: Remembered, begun: float) -> Response | None:
        """Return the answer that is remembered, if it still holds."""
        if self._held(remembered.runs_as) is not remembered.account:
            return None
        self._metrics.reviewed(remembered.result, self._clock() - begun)
        return Response(200, joined(remembered, uid), JSON)

    async def _later(self, review: Review, wanted: AccountRef, begun: float) -> Response:
        try:
            self._metrics.lookups += 1
            found = await self._accounts.look_up(wanted.namespace, wanted.name)
            if isinstance(found, Unknown):
                return self._unavailable(review, wanted, found, begun)
            return self._decided(review, None if isinstance(found, Absent) else found, begun)
        except Exception as error:  # noqa: BLE001 -- see above
            return self._failed(error, begun)

    def _held(self, account: AccountRef | None) -> dict[str, Any] | None:
        return None if account is None else self._accounts.held(account.namespace, account.name)

    def _decided(
        self, review: Review, account: dict[str, Any] | None, begun: float, key: Key | None = None
    ) -> Response:
        decision = decide(review, account, self._policy)
        if isinstance(decision, Refuse):
            result = "refused"
            self._log.info("pod refused", namespace=review.namespace, uid=review.uid, reason=decision.message)
        else:
            result = "changed" if decision.patch else "unchanged"
        body = _encode(answer(review, decision))
        if key is not None and isinstance(decision, Admit) and (parts := split(body, review.uid)) is not None:
            self._memo.keep(key, Remembered(account_of(review), account, result, *parts))
        self._metrics.reviewed(result, self._clock() - begun)
        return Response(200, body, JSON)

    def _unavailable(self, review: Review, wanted: AccountRef, unknown: Unknown, begun: float) -> Response:
        """Refuse in the review itself: whatever the failurePolicy, no pod is let by without its identity."""
        self._metrics.lookup_failures += 1
        self._log.warning("account unknown", namespace=wanted.namespace, name=wanted.name, reason=unknown.reason)
        text = (
            f'the service account "{wanted.name}" in namespace "{wanted.namespace}" cannot be read just now '
            f"({unknown.reason}): try again"
        )
        document = answer(review, Refuse(503, text))
        self._metrics.reviewed("unavailable", self._clock() - begun)
        return Response(200, _encode(document), JSON)

    def _rejected(self, status: int, reason: str, headers: bytes = b"") -> Response:
        self._metrics.reviews["rejected"] += 1
        self._log.info("request rejected", status=status, reason=reason)
        return Response(status, f"wisp: {reason}\n".encode(), TEXT, headers)

    def _failed(self, error: Exception, begun: float) -> Response:
        self._metrics.reviewed("failed", self._clock() - begun)
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        self._log.warning("review failed", error=type(error).__name__, where=where)
        return Response(500, b"wisp: a fault of the webhook's own; its log says where\n", TEXT)
