"""Tokens of every identity that the gateway serves: a store for each identity, and exchanges shared between them.

An identity is a client id in a tenant. One identity's failures, waiting requests and number of tokens do not affect
another, except that all share the exchange process, in turns.
"""

import asyncio
import os
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple, Protocol, Self, TypeAlias

from wisp.azure import is_guid
from wisp.base.errors import SettingError
from wisp.base.fair_queue import FairQueue, QueueFullError
from wisp.entra.freshness import Token
from wisp.entra.messages import MOST_AT_ONCE, Granted, Refused, Result, TokenKey, unavailable
from wisp.entra.process import ExchangeProcess
from wisp.entra.settings import ExchangeSettings, exchange_settings
from wisp.entra.tokens import Clocks, TokenStore, Waiter
from wisp.http.asyncio_loop import AsyncioLoop
from wisp.http.epoll_server import Timed

MOST_ENTRIES = 10_000
"""Tokens and refusals of all identities together."""
MOST_KEYS = 32
"""Those of one identity: its scopes and claims requests."""
_MOST_WAITING = 4096
"""Requests that may wait for one identity's exchanges: more than the server has in flight by default."""
_AT_ONCE_FOR_ONE = 2
_MOST_QUEUED = 1000
_LONGEST_QUEUED = 6.0
"""Seconds that an exchange may wait for its turn: less than the sidecar waits for an answer."""
_MOST_RENEWALS = 4
"""Identities whose tokens are renewed in the background at the same time. Clients find the other half free."""

_Name: TypeAlias = tuple[str, str]
"""An identity's tenant and client id."""


class Exchanger(Protocol):
    """What makes exchanges: the exchange process."""

    def begin(self, key: TokenKey, done: Callable[[Result], None], request_id: str) -> None:
        """Request a token; call `done` once, later, in bounded time."""

    def close(self) -> None:
        """End; exchanges under way get no result."""


class Timers(Protocol):
    """What calls back when work is due."""

    def add_timed(self, timed: Timed) -> None:
        """Ask `timed` for its due time, now and whenever it was due."""

    def remove_timed(self, timed: Timed) -> None:
        """Ask `timed` no more."""


def gateway_settings(authority_ca: str | None = None, environ: Mapping[str, str] | None = None) -> ExchangeSettings:
    """Read the settings of the gateway's exchanges from the environment. Raise SettingError."""
    environ = os.environ if environ is None else environ
    if environ.get("AZURE_KUBERNETES_TOKEN_PROXY", "").strip():
        raise SettingError(
            "AZURE_KUBERNETES_TOKEN_PROXY is set for the gateway, which would request tokens from itself",
            hint="unset it, or do not label the gateway's pod for the webhook; the gateway sends its requests to Entra",
        )
    return exchange_settings(authority_ca, environ)


class _Identity:
    """An identity's store, and what its exchanges need. Timed: its renewals and retries are due at times of its own.

    `begin` begins an exchange; `renew` is called when the store has something to do.
    """

    __slots__ = ("_begin", "_is_asked", "_renew", "is_postponed", "name", "queued", "request_ids", "store", "under_way")

    def __init__(self, name: _Name, clocks: Clocks, begin: "_Begin", renew: "Callable[[_Identity], None]") -> None:
        self.name = name
        self.store = TokenStore(self._exchange, clocks, most=MOST_KEYS, most_waiting=_MOST_WAITING)
        self._begin = begin
        self._renew = renew
        self.under_way = 0
        """Exchanges that have begun or wait for their turn."""
        self.queued: dict[TokenKey, asyncio.Timeout] = {}
        """Until when those wait that have not had their turn."""
        self._is_asked = False
        """Whether a client's request is being handled: it needs the exchanges that it begins."""
        self.request_ids: dict[TokenKey, str] = {}
        """Of the first request that waits for a key, for the exchanges and retries made for it."""
        self.is_postponed = False
        """Whether its renewals are due and wait for those of others."""

    def due(self) -> float | None:
        """Return when renewals or retries are due."""
        return None if self.is_postponed else self.store.due()

    def tick(self) -> None:
        """Start the renewals and retries that are due."""
        self._renew(self)

    def is_idle(self) -> bool:
        """Return whether nothing is under way, and nobody waits."""
        return not self.under_way and not self.store.waiting

    def request(self, key: TokenKey, waiter: Waiter, request_id: str, *, renew: bool) -> Token | Refused | None:
        """Make a request to the store."""
        if is_guid(request_id):  # anything else that a client sends must not fail the exchange of all
            self.request_ids.setdefault(key, request_id)
        self._is_asked = True
        outcome = self.store.request(key, waiter, renew=renew)
        self._is_asked = False
        if outcome is not None:
            self.forget_unused(key)
        return outcome

    def leave(self, key: TokenKey, waiter: Waiter) -> None:
        """Do not call the waiter. An exchange that nobody waits for any more gives up its place in the queue."""
        self.store.leave(key, waiter)
        self.forget_unused(key)
        queued = self.queued.get(key)
        if queued is not None and not queued.expired() and not self.store.is_awaited(key):
            queued.reschedule(0.0)

    def forget_unused(self, key: TokenKey) -> None:
        """Forget the request id of a key that nobody waits for."""
        if not self.store.is_awaited(key):
            self.request_ids.pop(key, None)

    def _exchange(self, key: TokenKey, done: Callable[[Result], None]) -> None:
        key = key._replace(newer=False)  # Entra has no cache
        is_renewal = not self._is_asked and not self.store.is_awaited(key)
        self._begin(_Order(self, key, is_renewal), done)


class _Order(NamedTuple):
    """An exchange for an identity's store. A renewal is one that nobody waits for."""

    identity: _Identity
    key: TokenKey
    is_renewal: bool


_Begin: TypeAlias = Callable[[_Order, Callable[[Result], None]], None]


class IdentityTokens:
    """Tokens by their keys, at most `most` of all identities together. Only the loop's thread may use it.

    An exchange that has not begun after `longest_queued` seconds ends as unavailable.
    """

    def __init__(
        self,
        exchanger: Exchanger,
        clocks: Clocks,
        timers: Timers,
        *,
        most: int = MOST_ENTRIES,
        longest_queued: float = _LONGEST_QUEUED,
    ) -> None:
        self._exchanger = exchanger
        self._clocks = clocks
        self._timers = timers
        self._most = most
        self._longest_queued = longest_queued
        self._queue = FairQueue(MOST_AT_ONCE, _AT_ONCE_FOR_ONE, _MOST_QUEUED)
        self._identities: OrderedDict[_Name, _Identity] = OrderedDict()
        """In the order of their last use."""
        self._without_token: OrderedDict[_Name, None] = OrderedDict()
        """Those that never got a token, in the same order."""
        self._postponed: OrderedDict[_Identity, None] = OrderedDict()
        self._entries = 0
        self._renewals = 0
        """Exchanges under way that nobody waited for when they began."""
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def over_process(cls, settings: ExchangeSettings, observe: Callable[[TokenKey, Result, float], None]) -> Self:
        """Return tokens that an exchange process gets, on the running loop; `observe` is called for each exchange."""
        loop = AsyncioLoop()
        process = ExchangeProcess(settings, loop, observe)
        process.start()
        return cls(process, Clocks(time.monotonic, time.time, random.random), loop)

    def fresh(self, key: TokenKey) -> Token | None:
        """Return the token if it needs no work at all: the hot path."""
        name = (key.tenant, key.client_id)
        identity = self._identities.get(name)
        if identity is None:
            return None
        self._identities.move_to_end(name)
        return identity.store.fresh(key)

    async def get(self, key: TokenKey, request_id: str = "", *, renew: bool = False) -> Token | Refused:
        """Return a token or a refusal, after an exchange if need be.

        Entra gets the `request_id` of the first request that waits for an exchange, if it is a GUID. `renew` asks for a
        token newer than the one in the store.
        """
        identity = self._admit(key)
        if identity is None:
            return unavailable(
                f"The gateway has requests for {self._most} different tokens under way",
                cause="exchange_process",
                retry_after=1.0,
            )
        answer: asyncio.Future[Token | Refused] = asyncio.get_running_loop().create_future()

        def settle(outcome: Token | Refused) -> None:
            if not answer.done():  # it may be cancelled, and its client not have left the store yet
                answer.set_result(outcome)

        before = len(identity.store)
        outcome = identity.request(key, settle, request_id, renew=renew)
        self._entries += len(identity.store) - before
        if outcome is None and identity.is_postponed:
            self._resume(identity)
        self._timers.add_timed(identity)
        if outcome is not None:
            return outcome
        try:
            return await answer
        except asyncio.CancelledError:
            identity.leave(key, settle)
            raise

    def __len__(self) -> int:
        return self._entries

    def close(self) -> None:
        """End the exchanges under way, which get no result."""
        for task in self._tasks:
            task.cancel()
        for identity in self._identities.values():
            self._timers.remove_timed(identity)
        self._exchanger.close()

    def _renew(self, identity: _Identity) -> None:
        """Start the renewals and retries of an identity that are due, unless too many of others are under way.

        Those that clients wait for are started at once.
        """
        if self._renewals >= _MOST_RENEWALS and not identity.store.waiting:
            identity.is_postponed = True
            self._postponed[identity] = None
            return
        self._resume(identity)

    def _begin(self, order: _Order, done: Callable[[Result], None]) -> None:
        """Begin an exchange; it is counted now, though its task begins later."""
        order.identity.under_way += 1
        self._renewals += order.is_renewal
        task = asyncio.create_task(self._run(order, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _resume(self, identity: _Identity) -> None:
        """Start what is due."""
        identity.is_postponed = False
        self._postponed.pop(identity, None)
        identity.store.tick()
        self._timers.add_timed(identity)

    async def _run(self, order: _Order, done: Callable[[Result], None]) -> None:
        identity, key, is_renewal = order
        result = await self._result(identity, key)
        identity.under_way -= 1
        self._renewals -= is_renewal
        if isinstance(result, Granted):
            self._without_token.pop(identity.name, None)
        done(result)
        identity.forget_unused(key)
        self._timers.add_timed(identity)
        while self._postponed and self._renewals < _MOST_RENEWALS:
            self._resume(next(iter(self._postponed)))

    async def _result(self, identity: _Identity, key: TokenKey) -> Result:
        """Make an exchange, in its turn."""
        async with AsyncExitStack() as turns:
            try:
                async with asyncio.timeout(self._longest_queued) as limit:
                    identity.queued[key] = limit
                    await turns.enter_async_context(self._queue.turn(identity.name))
            except (TimeoutError, QueueFullError):
                return unavailable(
                    "Too many exchanges with Entra are under way for other identities, or for other tokens of this one",
                    cause="exchange_process",
                    retry_after=2.0,
                )
            finally:
                del identity.queued[key]
            arrived: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            self._exchanger.begin(key, arrived.set_result, identity.request_ids.get(key, ""))
            return await arrived

    def _admit(self, key: TokenKey) -> _Identity | None:
        """Return the identity of a key, in place of another's if there are too many; None if none can go."""
        name = (key.tenant, key.client_id)
        identity = self._identities.get(name)
        has_room = identity is not None and (key in identity.store or len(identity.store) >= MOST_KEYS)
        if not has_room and self._entries >= self._most and not self._drop_other(name):
            return None
        if identity is None:
            identity = self._identities[name] = _Identity(name, self._clocks, self._begin, self._renew)
            self._without_token[name] = None
        self._identities.move_to_end(name)
        if name in self._without_token:
            self._without_token.move_to_end(name)
        return identity

    def _drop_other(self, name: _Name) -> bool:
        """Drop an identity that nobody waits for, but not `name`; return whether there was one.

        Those that never got a token go first, so that requests for nonsense drop no token; then the least recently
        used.
        """
        for order in (self._without_token, self._identities):
            for other in order:
                if other != name and self._identities[other].is_idle():
                    self._drop(self._identities[other])
                    return True
        return False

    def _drop(self, identity: _Identity) -> None:
        self._entries -= len(identity.store)
        del self._identities[identity.name]
        self._without_token.pop(identity.name, None)
        self._postponed.pop(identity, None)
        self._timers.remove_timed(identity)
