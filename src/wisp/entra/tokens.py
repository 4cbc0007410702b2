"""The token store: one exchange a key at a time, however many wait; renewal in the background; bounded.

It decides nothing about time that `freshness` does not tell it, and knows Entra only as something to call `begin` on.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from wisp.entra.freshness import REFUSAL_HOLD, Token, hold_off, patience, retry_delay, token_of
from wisp.entra.messages import Ask, Granted, Refused, Result, unavailable

Waiter: TypeAlias = Callable[[Token | Refused], None]
_NEVER = float("inf")
_SECOND = 1.0
MOST_WAITING = 512
"""Requests that may wait for exchanges: half of the server's places, so that others always find one."""


class Exchange(Protocol):
    """Whoever can exchange the assertion for a token."""

    def begin(self, ask: Ask, done: Callable[[Result], None]) -> None:
        """Start an exchange; call `done` once, in bounded time, with its result."""


class Clocks(NamedTuple):
    """Where the time comes from: seconds of a steady clock, Unix seconds, and a random number in [0, 1)."""

    steady: Callable[[], float]
    unix: Callable[[], float]
    spread: Callable[[], float]


class _Entry:
    """What is known of one key. Times are the steady clock's."""

    __slots__ = (
        "asked_at", "failures", "flying", "held_until", "idle", "launched_at",
        "patient_until", "refusal", "retry_at", "revoked_at", "token", "tries", "waiters",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.asked_at = now
        self.token: Token | None = None
        self.idle = False
        """Whether the token is left to run out because nobody asks for it any more."""
        self.refusal: Refused | None = None
        self.failures = 0
        self.held_until = 0.0
        """Until then Entra is not asked, whoever waits."""
        self.patient_until = 0.0
        """Until then it is not asked either while the token is still good enough to hand out."""
        self.revoked_at = -_NEVER
        """When a client last said that its token was rejected."""
        self.flying = False
        self.launched_at = 0.0
        self.tries = 0
        self.retry_at = _NEVER
        self.waiters: list[Waiter] = []

    def due(self) -> float:
        """Return when this entry next needs work without being asked."""
        if self.flying:
            return self.retry_at
        if self.token is None or self.idle:
            return _NEVER
        return self.askable_at(self.token)

    def askable_at(self, token: Token) -> float:
        """Return from when on Entra may be asked for a newer token than `token`."""
        return max(token.renew_at, self.held_until, min(self.patient_until, token.spare_at))

    def revoke(self, now: float) -> None:
        """Forget the token. A new one can be had at once, but of several in a row only one a second."""
        self.token = None
        if not self.failures:
            self.held_until = min(self.held_until, self.revoked_at + _SECOND)
        self.revoked_at = now

    def defer(self) -> None:
        """Plan a flight for when Entra may be asked again; those who ask meanwhile wait for it."""
        self.flying, self.idle, self.tries, self.launched_at = True, False, 0, self.held_until
        self.retry_at = self.held_until

    def unwanted(self, now: float) -> bool:
        """Say whether nobody asked for the token during the time that it lives, or it has run out."""
        token = self.token
        return token is None or now >= token.expires_at or self.asked_at < now - token.lifetime


class TokenStore:
    """Tokens by what was asked for. Not thread-safe: it belongs to the loop's one thread."""

    def __init__(
        self, exchange: Exchange, clocks: Clocks, *, most: int = 128, refusal_hold: float = REFUSAL_HOLD
    ) -> None:
        self._exchange = exchange
        self._clocks = clocks
        self._most = most
        self._refusal_hold = refusal_hold
        self._entries: dict[Ask, _Entry] = {}
        self._waiting = 0
        self._next_due = _NEVER

    def fresh(self, ask: Ask) -> Token | None:
        """Return a token that needs no work at all: the warm path."""
        entry = self._entries.get(ask)
        if entry is None or entry.token is None:
            return None
        now = self._clocks.steady()
        if now >= entry.token.renew_at:
            return None
        entry.asked_at = now
        return entry.token

    def ask(self, ask: Ask, waiter: Waiter, *, renew: bool = False) -> Token | Refused | None:
        """Return a token or why there is none; or None, and `waiter` is called with it once it is known.

        A token past its margin, or any where the client wants a renewed one (`renew`), is handed out only when Entra
        cannot be asked or does not give a newer one in time.
        """
        now = self._clocks.steady()
        entry = self._entries.get(ask) or self._admit(ask, now)
        if entry is None:
            return unavailable("Too many different tokens are being asked for at once", cause="exchange_process")
        entry.asked_at = now
        askable_at = entry.held_until if entry.token is None or renew else entry.askable_at(entry.token)
        if not entry.flying and now >= askable_at:
            self._launch(ask, entry, now)
        elif not entry.flying and entry.token is None and entry.refusal is None:
            entry.defer()
            self._schedule()
        if entry.token is not None and now < entry.token.spare_at and not renew:
            return entry.token
        if not entry.flying:
            return self._best(entry, now)
        if self._waiting >= MOST_WAITING:
            return self._without_waiting(entry, now)
        self._waiting += 1
        entry.waiters.append(waiter)
        return None

    def _without_waiting(self, entry: _Entry, now: float) -> Token | Refused:
        """Return the token while it is valid, else a refusal: after the exchange, the next request gets one."""
        if entry.token is not None and now < entry.token.expires_at:
            return entry.token
        description = f"{MOST_WAITING} requests are waiting for Entra already; ask again in a second"
        return unavailable(description, cause="exchange_process", retry_after=1.0)

    def revoke(self, ask: Ask, digest: str) -> bool:
        """Forget the token that a resource rejected; say whether it was there.

        `digest` is its SHA-256 in lower-case hexadecimal digits. It is looked for among the tokens for the identity and
        resource of `ask`, whatever capabilities they were asked for with. Nobody is given the token again, not even
        while Entra fails; the next `ask` begins an exchange, or waits for the one that is under way.
        """
        now = self._clocks.steady()
        named = [entry for key, entry in self._entries.items() if key[:2] == ask[:2]]
        revoked = [entry for entry in named if entry.token is not None and entry.token.access_token.sha256() == digest]
        for entry in revoked:
            entry.revoke(now)
        self._schedule()
        return bool(revoked)

    def second(self) -> int:
        """Return the present second of the clock that tokens' `expires_at` is on."""
        return int(self._clocks.steady())

    def earliest_expiry(self) -> int | None:
        """Return the expiry, in Unix seconds, of the token in the store that ends first."""
        return min((entry.token.expires_on for entry in self._entries.values() if entry.token), default=None)

    def __len__(self) -> int:
        return len(self._entries)

    def due(self) -> float | None:
        """Return when the next renewal or retry is due."""
        return None if self._next_due == _NEVER else self._next_due

    def tick(self) -> None:
        """Start the renewals and retries that are due."""
        now = self._clocks.steady()
        for ask, entry in list(self._entries.items()):
            if entry.due() > now:
                continue
            if entry.flying or not entry.unwanted(now):
                self._launch(ask, entry, now)
            else:
                entry.idle = True
        self._schedule()

    def _admit(self, ask: Ask, now: float) -> _Entry | None:
        """Make room for a new key, or return None if there is none.

        Keys without a valid token go first, then the one asked for longest ago, so asking for nonsense drops no token.
        A token gives way only while fewer than half of the keys wait for their first: if Entra does not answer, the
        others stay.
        """
        if len(self._entries) >= self._most:
            settled: list[tuple[bool, float, Ask]] = []
            waiting = 0
            for key, entry in self._entries.items():
                valid = entry.token is not None and now < entry.token.expires_at
                if not entry.flying:
                    settled.append((valid, entry.asked_at, key))
                elif not valid:
                    waiting += 1
            if not settled:
                return None
            valid, _, victim = min(settled)
            if valid and waiting >= self._most // 2:
                return None
            del self._entries[victim]
        entry = self._entries[ask] = _Entry(now)
        return entry

    def _launch(self, ask: Ask, entry: _Entry, now: float) -> None:
        """Begin the first exchange of a flight, or the next one of a flight under way."""
        if not entry.flying:
            entry.flying, entry.idle, entry.tries, entry.launched_at = True, False, 0, now
        entry.tries += 1
        entry.retry_at = _NEVER
        self._exchange.begin(ask, lambda result: self._landed(entry, result))

    def _landed(self, entry: _Entry, result: Result) -> None:
        now = self._clocks.steady()
        if isinstance(result, Granted):
            self._take(entry, result, now)
        elif (delay := self._retry_delay(entry, result, now)) is not None:
            entry.retry_at = now + delay
        else:
            self._note(entry, result, now)
        if entry.retry_at == _NEVER:
            self._settle(entry, now)
        self._schedule()

    def _take(self, entry: _Entry, granted: Granted, now: float) -> None:
        entry.token = token_of(granted, now=now, unix=self._clocks.unix(), spread=self._clocks.spread())
        entry.failures = 0
        entry.refusal = None
        entry.held_until = now + _SECOND  # whatever an odd lifetime says, never more than one exchange a second
        entry.patient_until = 0.0

    def _retry_delay(self, entry: _Entry, refused: Refused, now: float) -> float | None:
        since = now - entry.launched_at
        return retry_delay(refused, known=entry.refusal, tries=entry.tries, since_first=since)

    def _note(self, entry: _Entry, refused: Refused, now: float) -> None:
        spread = self._clocks.spread()
        entry.failures += 1
        entry.refusal = refused
        hold = hold_off(refused, failures=entry.failures, spread=spread, refusal=self._refusal_hold)
        entry.held_until = now + hold
        entry.patient_until = now + patience(failures=entry.failures, spread=spread)

    def _settle(self, entry: _Entry, now: float) -> None:
        """End the flight and tell everybody who waited for it."""
        entry.flying = False
        waiters, entry.waiters = entry.waiters, []
        self._waiting -= len(waiters)
        outcome = self._best(entry, now)
        for waiter in waiters:
            waiter(outcome)

    def _best(self, entry: _Entry, now: float) -> Token | Refused:
        """Return the token while it is valid, else the refusal, with the time that is left of the hold-off."""
        if entry.token is not None and now < entry.token.expires_at:
            return entry.token
        if entry.refusal is None:
            return unavailable("The token ran out before Entra gave a new one", retry_after=1.0)
        if not entry.refusal.passing:
            return entry.refusal
        return entry.refusal._replace(retry_after=max(1.0, entry.held_until - now))

    def _schedule(self) -> None:
        self._next_due = min((entry.due() for entry in self._entries.values()), default=_NEVER)
