"""Limit requests for tokens: those of a caller per second, and at once those of a caller, an address and all. Pure."""

from wisp.gateway.types import TokenRefusal

_MOST_CALLERS = 16_384
_BURST_SECONDS = 2.0
"""For how long a caller that is quiet saves up requests; for a rate below 0.5, until it has one."""


class CallerLimits:
    """Count requests. `rate` is per second and caller, `in_flight` per caller, `total` for all; 0 turns one off.

    `begin` and `end` enclose every request that has to wait for anything, `admit` and `leave` its part in which the
    caller is known. A rate is the generic cell rate algorithm (ITU-T I.371): of each caller it remembers when its
    bucket will be full, and of one whose bucket is full nothing.
    """

    def __init__(self, *, rate: float, in_flight: int, total: int) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._burst = max(_BURST_SECONDS, self._interval)
        self._in_flight = in_flight
        self._total = total
        self._full_at: dict[str, float] = {}
        """By caller; the one that asked longest ago comes first."""
        self._present: dict[str, int] = {}
        self._sources: dict[str, int] = {}
        self._all = 0

    def __len__(self) -> int:
        return len(self._full_at)

    def begin(self, source: str) -> TokenRefusal | None:
        """Count a request from an address, or return why it is refused.

        An address may have no more than there is room left. So the requests of one address leave half of the room to
        others, those of two addresses a third, and so on: newcomers find room.
        """
        count = self._sources.get(source, 0)
        if self._total and count >= self._total - self._all:
            return _throttled("too many token requests are being answered already; ask again in a second", 1.0)
        self._sources[source] = count + 1
        self._all += 1
        return None

    def end(self, source: str) -> None:
        """Forget a request that `begin` counted."""
        self._all -= 1
        _decrement(self._sources, source)

    def check(self, caller: str, now: float) -> TokenRefusal | None:
        """Return why a request of the caller would be refused. `now`: steady seconds."""
        late = max(self._full_at.get(caller, now), now) + self._interval - now - self._burst
        if not self._interval or late < 1e-9:  # the sum of 40 intervals of 0.05 s may exceed 2 s by rounding
            return None
        text = f"more than {1 / self._interval:g} token requests per second; cache tokens until they expire"
        return _throttled(text, late)

    def spend(self, caller: str, now: float) -> TokenRefusal | None:
        """Take a request out of the caller's bucket, or return why it is refused."""
        refusal = self.check(caller, now)
        if refusal is None and self._interval:
            self._full_at[caller] = max(self._full_at.pop(caller, now), now) + self._interval
            self._forget(now)
        return refusal

    def admit(self, caller: str, now: float) -> TokenRefusal | None:
        """Count a request of the caller in its bucket and in flight, or return why it is refused."""
        present = self._present.get(caller, 0)
        if self._in_flight and present >= self._in_flight:
            return _throttled(f"{present} token requests of this caller are being answered already", 1.0)
        refusal = self.spend(caller, now)
        if refusal is None:
            self._present[caller] = present + 1
        return refusal

    def leave(self, caller: str) -> None:
        """Forget a request in flight that `admit` counted."""
        _decrement(self._present, caller)

    def _forget(self, now: float) -> None:
        """Forget full buckets, two for each one that is added at most, and the oldest if there are too many."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= _MOST_CALLERS:
                return
            del self._full_at[oldest]


def _decrement(counts: dict[str, int], key: str) -> None:
    """Count one less; remember no zeros."""
    count = counts[key] - 1
    if count:
        counts[key] = count
    else:
        del counts[key]


def _throttled(text: str, retry_after: float) -> TokenRefusal:
    description = f"wisp gateway: {text}"
    return TokenRefusal("throttled", 429, "too_many_requests", description, retry_after=retry_after)
