"""Answer token requests: the steps in order, at once if nothing has to be waited for."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, assert_never

from wisp.base.errors import origin_of
from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.entra.freshness import Token
from wisp.entra.messages import Refused, TokenKey
from wisp.gateway import answers
from wisp.gateway.assertion import digest_of
from wisp.gateway.audit import AuditedRequest, AuditLog, GrantLine
from wisp.gateway.discovery import discovery
from wisp.gateway.limits import CallerLimits
from wisp.gateway.metrics import GatewayMetrics
from wisp.gateway.repeated import KnownRequest, RepeatedRequests, token_key
from wisp.gateway.request import Fields, Rules, asks_for_new_token, correlation_in, correlation_of, read_request
from wisp.gateway.types import (
    Authorization,
    Authorized,
    Caller,
    Forbidden,
    TokenForm,
    TokenRefusal,
    Unauthenticated,
    Undecided,
)
from wisp.http.messages import Reject, Request, Response


class CallerAuthorizer(Protocol):
    """What decides who may use an identity: `wisp.gateway.authorizer.Authorizer`."""

    def cached(self, assertion: Secret, client_id: str) -> Authorization | None:
        """Return what is known without asking."""

    def is_granted(self, digest: bytes, client_id: str) -> bool:
        """Tell whether it is known that the caller with the token of this SHA-256 may use the identity."""

    def known_caller(self, assertion: Secret) -> Caller | None:
        """Return the caller, if that is known without asking."""

    async def authorize(self, assertion: Secret, client_id: str, source: str) -> Authorization:
        """Ask."""


class TokenSource(Protocol):
    """Where tokens of identities come from: `wisp.gateway.tokens.IdentityTokens`."""

    def fresh(self, key: TokenKey) -> Token | None:
        """Return the token if it needs no work at all."""

    async def get(self, key: TokenKey, request_id: str = "", *, renew: bool = False) -> Token | Refused:
        """Return the token, a newer one if that is requested, or why there is none."""


class Steps(NamedTuple):
    """What takes part in answering a token request."""

    rules: Rules
    authorizer: CallerAuthorizer
    tokens: TokenSource
    limits: CallerLimits
    federation: Callable[[], answers.Federation | None]
    """Reads what the gateway's own token says."""
    authority: str
    """The URL of Entra without a slash at its end, for discovery."""


class Records(NamedTuple):
    """Where it is recorded how requests ended."""

    metrics: GatewayMetrics
    audit: AuditLog
    log: Log


class TokenRequests:
    """The application of the TLS listener."""

    def __init__(self, steps: Steps, records: Records) -> None:
        self._steps = steps
        self._metrics, self._audit, self._log = records
        self._repeated = RepeatedRequests()

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer at once if authorization and token are cached."""
        started = time.perf_counter()
        try:
            return self._answer(request, started)
        except Exception as error:  # noqa: BLE001 -- for any bug the client gets an answer, and the process goes on
            return self._fail(error, AuditedRequest(request.source, correlation_of(request)), started)

    def rejected(self, reject: Reject) -> Response:
        """Answer bytes that are not a request."""
        self._metrics.requests["rejected"] += 1
        self._log.info("request rejected", status=reject.status, reason=reject.reason)
        return answers.refusal(answers.rejected(reject), str(uuid.uuid4()), unix=time.time())

    def _answer(self, request: Request, started: float) -> Response | Awaitable[Response]:
        steps = self._steps
        headers = dict(request.headers)
        known = self._repeated.find(request, headers)
        if known is not None and (response := self._grant_again(known, request, headers, started)) is not None:
            return response
        page = None if request.method == b"POST" else discovery(request, steps.authority)
        if page is not None:
            return page
        form = read_request(request, steps.rules)
        if isinstance(form, TokenRefusal):
            return self._refuse(form, AuditedRequest(request.source, correlation_of(request)), started)
        return self._answer_form(request, form, started)

    def _answer_form(self, request: Request, form: TokenForm, started: float) -> Response | Awaitable[Response]:
        """Answer at once if nothing has to be waited for, and remember a request that is granted at once."""
        steps = self._steps
        audited = AuditedRequest(request.source, form.correlation_id, form)
        authorization = steps.authorizer.cached(form.assertion, form.client_id)
        if authorization is None:
            return self._wait(audited, form, None, started)
        self._metrics.authorization_hits += 1
        if not isinstance(authorization, Authorized):
            return self._refuse_caller(authorization, audited, form, started)
        token = None if form.renew else steps.tokens.fresh(token_key(form))
        if token is None:
            return self._wait(audited, form, authorization, started)
        self._metrics.token_hits += 1
        caller = authorization.caller
        audited = audited._replace(caller=caller)
        refusal = steps.limits.spend(caller.key, time.monotonic())
        if refusal is not None:
            return self._refuse(refusal, audited, started)
        line = self._audit.grant_line(audited)
        if not form.claims:  # they are rare, and take up to 16 KiB in memory
            self._repeated.remember(request, form, caller, line)
        return self._grant(token, line, form.correlation_id, started)

    async def _wait(
        self, audited: AuditedRequest, form: TokenForm, authorization: Authorized | None, started: float
    ) -> Response:
        """Answer after reviews, an exchange, or both."""
        try:
            return await self._answer_later(audited, form, authorization, started)
        except Exception as error:  # noqa: BLE001 -- as in `answer`
            return self._fail(error, audited, started)

    async def _answer_later(
        self, audited: AuditedRequest, form: TokenForm, authorization: Authorized | None, started: float
    ) -> Response:
        steps = self._steps
        caller = steps.authorizer.known_caller(form.assertion) if authorization is None else None
        if caller is not None and (refusal := steps.limits.check(caller.key, time.monotonic())) is not None:
            return self._refuse(refusal, audited._replace(caller=caller), started)  # before it causes a review
        refusal = steps.limits.begin(audited.source)
        if refusal is not None:
            return self._refuse(refusal, audited, started)
        try:
            decided = authorization or await steps.authorizer.authorize(form.assertion, form.client_id, audited.source)
            if not isinstance(decided, Authorized):
                return self._refuse_caller(decided, audited, form, started)
            audited = audited._replace(caller=decided.caller)
            return await self._exchange(decided.caller, audited, form, started)
        except asyncio.CancelledError:  # the connection has ended
            self._metrics.requests["abandoned"] += 1
            self._audit.abandoned(audited)
            raise
        finally:
            steps.limits.end(audited.source)

    async def _exchange(self, caller: Caller, audited: AuditedRequest, form: TokenForm, started: float) -> Response:
        """Answer with the identity's token, within the caller's limits.

        An exchange can take longer than a permission may be remembered, or than the caller's token is valid. Then the
        caller is reviewed again.
        """
        steps, key = self._steps, token_key(form)
        refusal = steps.limits.admit(caller.key, time.monotonic())
        if refusal is not None:
            return self._refuse(refusal, audited, started)
        decided: Authorization = Authorized(caller)
        try:
            outcome: Token | Refused | None = None if form.renew else steps.tokens.fresh(key)
            if outcome is None:
                outcome = await steps.tokens.get(key, form.correlation_id, renew=form.renew)
                if isinstance(outcome, Token) and not steps.authorizer.is_granted(
                    digest_of(form.assertion), form.client_id
                ):
                    decided = await steps.authorizer.authorize(form.assertion, form.client_id, audited.source)
        finally:
            steps.limits.leave(caller.key)
        if isinstance(outcome, Refused):
            return self._refuse(answers.not_exchanged(outcome, steps.federation()), audited, started)
        if not isinstance(decided, Authorized):
            return self._refuse_caller(decided, audited, form, started)
        return self._grant(outcome, self._audit.grant_line(audited), form.correlation_id, started)

    def _grant_again(self, known: KnownRequest, request: Request, headers: Fields, started: float) -> Response | None:
        """Answer a request that was granted before, if nothing has to be waited for and nothing stands against it."""
        steps = self._steps
        if asks_for_new_token(headers) or not steps.authorizer.is_granted(known.assertion_digest, known.key.client_id):
            return None
        token, now = steps.tokens.fresh(known.key), time.monotonic()
        if token is None or steps.limits.spend(known.caller.key, now) is not None:
            return None
        self._metrics.authorization_hits += 1
        self._metrics.token_hits += 1
        return self._grant(token, known.line, correlation_in(headers, request.body), started)

    def _grant(self, token: Token, line: GrantLine, correlation_id: str, started: float) -> Response:
        response = answers.grant(token, correlation_id, now=time.monotonic())
        self._metrics.answered("granted", time.perf_counter() - started)
        self._audit.granted_again(line, correlation_id)
        return response

    def _refuse_caller(
        self, decided: Unauthenticated | Forbidden | Undecided, audited: AuditedRequest, form: TokenForm, started: float
    ) -> Response:
        match decided:
            case Unauthenticated():
                refusal = answers.unauthenticated(decided)
            case Forbidden(caller):
                throttled = self._steps.limits.spend(caller.key, time.monotonic())
                refusal = throttled or answers.forbidden(decided, form.client_id)
                audited = audited._replace(caller=caller)
            case Undecided():
                refusal = answers.undecided(decided)
            case _:
                assert_never(decided)
        return self._refuse(refusal, audited, started)

    def _refuse(self, refusal: TokenRefusal, audited: AuditedRequest, started: float) -> Response:
        self._metrics.answered(refusal.outcome, time.perf_counter() - started)
        self._audit.refused(audited, refusal)
        return answers.refusal(refusal, audited.correlation_id, unix=time.time())

    def _fail(self, error: Exception, audited: AuditedRequest, started: float) -> Response:
        self._log.warning("request failed", error=type(error).__name__, where=origin_of(error))
        return self._refuse(answers.internal_error(), audited, started)
