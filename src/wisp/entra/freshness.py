"""Decide how long a token is good for, when to renew it, and how long to back off while Entra fails.

Times are seconds on one steady clock unless they are called Unix seconds; `spread` is a random number in [0, 1).
"""

from typing import NamedTuple

from wisp.base.secret import Secret
from wisp.entra.messages import Granted, Refused

MARGIN = 300.0
"""Seconds: clients do not cache a token that lives shorter, so none is handed out while a newer one can be had."""

EVENTUAL_CODES = frozenset({70021, 70025, 700211, 700213})
"""AADSTS codes that Entra also returns for a new federated credential, because credentials are eventually consistent.

70025 says that the identity has none: its first one has not propagated yet. 700212 (audience) and 7002138
(case of the subject) say that a credential was found and differs, which waiting does not change.
"""

EVENTUAL_DELAYS = (0.2, 0.6, 1.2)
"""Seconds before each further try of an exchange refused with one of `EVENTUAL_CODES`."""

EVENTUAL_WINDOW = 2.75
"""Seconds from the first try within which the last one begins: with the 9 s that it may take, nobody waits over 12."""

REFUSAL_HOLD = 5.0
"""Default for the seconds that a refusal is remembered: it changes only when somebody fixes the federation."""

_LONGEST_HOLD = 30.0
_LONGEST_PATIENCE = 300.0
_SHORTEST_REFRESH = 0.1
_LONGEST_RETRY_AFTER = 3600.0


class Token(NamedTuple):
    """A token in the store. `expires_on` and `not_before` are Unix seconds; the other times are on the steady clock."""

    access_token: Secret
    renew_at: float
    """When a renewal in the background is due."""
    spare_at: float
    """When the token starts to be returned only if Entra gives no newer one."""
    expires_at: float
    lifetime: float
    """Its remaining seconds when it arrived."""
    expires_on: int
    not_before: int
    object_id: str | None = None
    resource_id: str | None = None


def token_of(granted: Granted, *, now: float, unix: float, spread: float) -> Token:
    """Return the token that arrived at `now`, which is `unix` in Unix seconds.

    It is renewed at half-life (up to a tenth earlier, so that pods started together do not renew together: clients
    refresh long-lived tokens at half-life and must find a newer one), or MARGIN before its expiry if that comes first.
    A token too short-lived for the margin is renewed at half-life and is spare in its last fifth.
    """
    lifetime = float(granted.expires_in)
    half = lifetime * (0.5 - 0.05 * spread)
    margin = MARGIN if lifetime >= 2 * MARGIN else lifetime / 5
    renew_in = min(half, lifetime - margin)
    if granted.refresh_in:  # not so soon that the sidecar does nothing but renew
        renew_in = min(renew_in, max(float(granted.refresh_in), _SHORTEST_REFRESH * lifetime))
    return Token(
        granted.access_token,
        now + renew_in,
        now + lifetime - margin,
        now + lifetime,
        lifetime,
        int(unix) + granted.expires_in,
        int(unix) if granted.not_before is None else granted.not_before,
        granted.object_id,
        granted.resource_id,
    )


def hold_off(refused: Refused, *, failures: int, spread: float, refusal: float = REFUSAL_HOLD) -> float:
    """Return for how many seconds Entra is not asked again after `failures` (1, 2, ...) failures in a row.

    Entra's own Retry-After is respected. A refusal is remembered for about `refusal` seconds. A temporary fault backs
    off exponentially, from one second, with full jitter on the upper half.
    """
    if refused.retry_after is not None:
        return min(max(refused.retry_after, 1.0), _LONGEST_RETRY_AFTER)
    if not refused.passing:
        return refusal * (0.9 + 0.2 * spread)
    return _doubled(1.0, failures, most=_LONGEST_HOLD, spread=spread)


def patience(*, failures: int, spread: float) -> float:
    """Return for how many seconds a renewal that failed `failures` times can wait while the token is not yet spare.

    No client lacks a token meanwhile, so this backs off further than `hold_off` does, whatever the fault.
    """
    return _doubled(REFUSAL_HOLD, failures, most=_LONGEST_PATIENCE, spread=spread)


def _doubled(first: float, failures: int, *, most: float, spread: float) -> float:
    doubled: float = first * 2 ** min(failures, 16)
    return min(most, doubled) * (0.5 + 0.5 * spread)


def retry_delay(refused: Refused, *, known: Refused | None, tries: int, since_first: float) -> float | None:
    """Return after how many seconds an exchange refused for the `tries`-th time is tried again, or None.

    Only eventual codes are retried, within `EVENTUAL_WINDOW` of the first try, which was `since_first` seconds ago; and
    not if `known`, the refusal of the exchange before, has the same code: then it does not go away by itself.
    """
    if refused.aadsts not in EVENTUAL_CODES or tries > len(EVENTUAL_DELAYS):
        return None
    if known is not None and known.aadsts == refused.aadsts:
        return None
    delay = EVENTUAL_DELAYS[tries - 1]
    return delay if since_first + delay <= EVENTUAL_WINDOW else None
