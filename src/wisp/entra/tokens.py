"""The token store: one exchange per key at a time, however many clients wait; renewal in the background; bounded.

`freshness` decides about time.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from wisp.entra.freshness import REFUSAL_HOLD, Token, hold_off, patience, retry_delay, token_of
from wisp.entra.messages import Granted, Refused, Result, TokenKey, unavailable

Waiter: TypeAlias = Callable[[Token | Refused], None]
Exchange: TypeAlias = Callable[[TokenKey, Callable[[Result], None]], None]
"""Starts an exchange, and calls the second argument once, in bounded time, with its result."""
_NEVER = float("inf")
_SECOND = 1.0
MOST_WAITING = 512
"""Requests that may wait for exchanges: half of the server's connections, so that others always find a free one."""


class Clocks(NamedTuple):
    """Sources of the time: seconds of a steady clock, Unix seconds, and a random number in [0, 1)."""

    steady: Callable[[], float]
    unix: Callable[[], float]
    spread: Callable[[], float]


class _Entry:
    """The state of one key. Times are on the steady clock."""

    __slots__ = (
        "exchanging", "failures", "held_until", "idle", "newer", "patient_until", "refusal", "requested_at",
        "retry_at", "revoked_at", "started_at", "token", "tries", "waiters",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.requested_at = now
        self.token: Token | None = None
        self.idle = False
        """Whether the token is left to expire because no client requests it any more."""
        self.refusal: Refused | None = None
        self.failures = 0
        self.held_until = 0.0
        """Until then Entra is not asked, even if clients wait."""
        self.patient_until = 0.0
        """Until then it is not asked either while the token is still good enough."""
        self.revoked_at = -_NEVER
        """When a client last said that its token was rejected."""
        self.newer = False
        """Whether the next token must be newer than those in a gateway's cache."""
        self.exchanging = False
        self.started_at = 0.0
        self.tries = 0
        self.retry_at = _NEVER
        self.waiters: list[Waiter] = []

    def due(self) -> float:
        """Return when this entry next needs work on its own."""
        if self.exchanging:
            return self.retry_at
        if self.token is None or self.idle:
            return _NEVER
        return self.askable_at(self.token)

    def askable_at(self, token: Token) -> float:
        """Return when Entra may be asked for a newer token than `token`."""
        return max(token.renew_at, self.held_until, min(self.patient_until, token.spare_at))

    def revoke(self, now: float) -> None:
        """Forget the token. A new one can be requested at once, but of several in a row only one a second."""
        self.token = None
        self.newer = True
        if not self.failures:
            self.held_until = min(self.held_until, self.revoked_at + _SECOND)
        self.revoked_at = now

    def defer(self) -> None:
        """Plan an exchange for when Entra may be asked again; requests until then wait for it."""
        self.exchanging, self.idle, self.tries, self.started_at = True, False, 0, self.held_until
        self.retry_at = self.held_until

    def is_unused(self, now: float) -> bool:
        """Return whether no client requested the token during its lifetime, or it has expired."""
        token = self.token
        return token is None or now >= token.expires_at or self.requested_at < now - token.lifetime


class TokenStore:
    """Tokens by their key. Not thread-safe: only the loop's thread uses it."""

    def __init__(
        self,
        exchange: Exchange,
        clocks: Clocks,
        *,
        most: int = 128,
        most_waiting: int = MOST_WAITING,
        refusal_hold: float = REFUSAL_HOLD,
    ) -> None:
        self._exchange = exchange
        self._clocks = clocks
        self._most = most
        self._most_waiting = most_waiting
        self._refusal_hold = refusal_hold
        self._entries: dict[TokenKey, _Entry] = {}
        self.waiting = 0
        """Requests that wait for exchanges."""
        self._next_due = _NEVER

    def fresh(self, key: TokenKey) -> Token | None:
        """Return the token if it needs no work at all: the hot path."""
        entry = self._entries.get(key)
        if entry is None or entry.token is None:
            return None
        now = self._clocks.steady()
        if now >= entry.token.renew_at:
            return None
        entry.requested_at = now
        return entry.token

    def request(self, key: TokenKey, waiter: Waiter, *, renew: bool = False) -> Token | Refused | None:
        """Return a token or a refusal; or None, and call `waiter` with the outcome later.

        A token past its margin, or any token if the client wants a renewed one (`renew`), is returned only if Entra
        cannot be asked or does not give a newer one in time.
        """
        now = self._clocks.steady()
        entry = self._entries.get(key) or self._admit(key, now)
        if entry is None:
            return unavailable("Too many different tokens are being asked for at once", cause="exchange_process")
        entry.requested_at = now
        entry.newer = entry.newer or renew
        askable_at = entry.held_until if entry.token is None or renew else entry.askable_at(entry.token)
        if not entry.exchanging and now >= askable_at:
            self._start(key, entry, now)
        elif not entry.exchanging and entry.token is None and entry.refusal is None:
            entry.defer()
            self._schedule()
        if entry.token is not None and now < entry.token.spare_at and not renew:
            return entry.token
        if not entry.exchanging:
            return self._best(entry, now)
        if self.waiting >= self._most_waiting:
            return self._without_waiting(entry, now)
        self.waiting += 1
        entry.waiters.append(waiter)
        return None

    def _without_waiting(self, entry: _Entry, now: float) -> Token | Refused:
        """Return the token while it is valid, else a refusal: there is no room for another request to wait."""
        if entry.token is not None and now < entry.token.expires_at:
            return entry.token
        description = f"{self._most_waiting} requests are waiting for Entra already; ask again in a second"
        return unavailable(description, cause="exchange_process", retry_after=1.0)

    def leave(self, key: TokenKey, waiter: Waiter) -> None:
        """Do not call `waiter`, whose client has gone, if it still waits. The exchange continues."""
        entry = self._entries.get(key)
        if entry is not None and waiter in entry.waiters:
            entry.waiters.remove(waiter)
            self.waiting -= 1

    def is_awaited(self, key: TokenKey) -> bool:
        """Return whether requests wait for an exchange of the key."""
        entry = self._entries.get(key)
        return entry is not None and bool(entry.waiters)

    def revoke(self, key: TokenKey, digest: str) -> bool:
        """Forget the token that a resource rejected; return whether the store had it.

        `digest` is its SHA-256 in lower-case hexadecimal digits. All tokens for the identity and resource of `key` are
        searched, whatever their capabilities. No client gets the token again, not even while Entra fails; the next
        `request` begins an exchange, or waits for the one under way.
        """
        now = self._clocks.steady()
        entries = [entry for other, entry in self._entries.items() if other[:2] == key[:2]]
        revoked = [entry for entry in entries if entry.token and entry.token.access_token.sha256() == digest]
        for entry in revoked:
            entry.revoke(now)
        self._schedule()
        return bool(revoked)

    def second(self) -> int:
        """Return the present second of the clock that `Token.expires_at` is on."""
        return int(self._clocks.steady())

    def earliest_expiry(self) -> int | None:
        """Return the earliest expiry, in Unix seconds, of the tokens in the store."""
        return min((entry.token.expires_on for entry in self._entries.values() if entry.token), default=None)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: TokenKey) -> bool:
        return key in self._entries

    def due(self) -> float | None:
        """Return when the next renewal or retry is due."""
        return None if self._next_due == _NEVER else self._next_due

    def tick(self) -> None:
        """Start the renewals and retries that are due."""
        now = self._clocks.steady()
        for key, entry in list(self._entries.items()):
            if entry.due() > now:
                continue
            if entry.exchanging or not entry.is_unused(now):
                self._start(key, entry, now)
            else:
                entry.idle = True
        self._schedule()

    def _admit(self, key: TokenKey, now: float) -> _Entry | None:
        """Add a key, in place of another if the store is full; return None if none can go.

        Keys without a valid token go first, then the one requested longest ago, so that requests for nonsense drop no
        token. A token is dropped only while fewer than half of the keys wait for their first: if Entra does not answer,
        the others stay.
        """
        if len(self._entries) >= self._most:
            settled: list[tuple[bool, float, TokenKey]] = []
            waiting = 0
            for other, entry in self._entries.items():
                valid = entry.token is not None and now < entry.token.expires_at
                if not entry.exchanging:
                    settled.append((valid, entry.requested_at, other))
                elif not valid:
                    waiting += 1
            if not settled:
                return None
            valid, _, victim = min(settled)
            if valid and waiting >= self._most // 2:
                return None
            del self._entries[victim]
        entry = self._entries[key] = _Entry(now)
        return entry

    def _start(self, key: TokenKey, entry: _Entry, now: float) -> None:
        """Begin an exchange, or the next try of one under way."""
        if not entry.exchanging:
            entry.exchanging, entry.idle, entry.tries, entry.started_at = True, False, 0, now
        entry.tries += 1
        entry.retry_at = _NEVER
        self._exchange(key._replace(newer=True) if entry.newer else key, lambda result: self._on_result(entry, result))

    def _on_result(self, entry: _Entry, result: Result) -> None:
        now, spread = self._clocks.steady(), self._clocks.spread()
        if isinstance(result, Granted):
            entry.token = token_of(result, now=now, unix=self._clocks.unix(), spread=spread)
            entry.failures, entry.refusal, entry.newer = 0, None, False
            entry.held_until = now + _SECOND  # whatever an odd lifetime says, never more than one exchange a second
            entry.patient_until = 0.0
        else:
            since = now - entry.started_at
            delay = retry_delay(result, known=entry.refusal, tries=entry.tries, since_first=since)
            if delay is not None:
                entry.retry_at = now + delay
                self._schedule()
                return
            entry.failures += 1
            entry.refusal = result
            hold = hold_off(result, failures=entry.failures, spread=spread, refusal=self._refusal_hold)
            entry.held_until = now + hold
            entry.patient_until = now + patience(failures=entry.failures, spread=spread)
        self._settle(entry, now)
        self._schedule()

    def _settle(self, entry: _Entry, now: float) -> None:
        """End the exchange and call everybody who waits for it."""
        entry.exchanging = False
        waiters, entry.waiters = entry.waiters, []
        self.waiting -= len(waiters)
        outcome = self._best(entry, now)
        for waiter in waiters:
            waiter(outcome)

    def _best(self, entry: _Entry, now: float) -> Token | Refused:
        """Return the token while it is valid, else the refusal, with the rest of the hold-off."""
        if entry.token is not None and now < entry.token.expires_at:
            return entry.token
        if entry.refusal is None:
            return unavailable("The token ran out before Entra gave a new one", retry_after=1.0)
        if not entry.refusal.passing:
            return entry.refusal
        return entry.refusal._replace(retry_after=max(1.0, entry.held_until - now))

    def _schedule(self) -> None:
        self._next_due = min((entry.due() for entry in self._entries.values()), default=_NEVER)
