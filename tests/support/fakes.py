"""Fakes that several folders use: clocks, requests, and a token exchange that the test answers."""

import base64
import json
from collections.abc import Callable
from urllib.parse import urlencode

from wisp.base.secret import Secret
from wisp.entra.messages import Granted, Result, TokenKey
from wisp.http.messages import Request

CLIENT_ID = "6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1"
ARM = "https://management.azure.com/"
ASK = TokenKey(CLIENT_ID, ARM)
UNIX = 1_790_000_000.0


class Clock:
    """A clock that returns `now`, and then moves by `step`."""

    def __init__(self, now: float = 1000.0, *, step: float = 0.0) -> None:
        self.now = now
        self._step = step

    def __call__(self) -> float:
        """Return the present second."""
        now = self.now
        self.now += self._step
        return now


class UnixClock:
    """Unix seconds that advance with a monotonic clock."""

    def __init__(self, steady: Clock) -> None:
        self._offset = UNIX - steady.now
        self._steady = steady

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self._offset + self._steady.now


class HeldExchange:
    """An exchange that answers when the test calls `land`."""

    def __init__(self) -> None:
        self.calls: list[tuple[TokenKey, Callable[[Result], None]]] = []
        self.asked: list[TokenKey] = []

    def begin(self, ask: TokenKey, done: Callable[[Result], None]) -> None:
        """Record a call."""
        self.asked.append(ask)
        self.calls.append((ask, done))

    def land(self, result: Result) -> None:
        """Answer the oldest call."""
        _, done = self.calls.pop(0)
        done(result)


def granted(value: str = "a-token", expires_in: int = 86399, refresh_in: int | None = None) -> Granted:
    """Return an answer with a token."""
    return Granted(Secret(value), expires_in, refresh_in)


def token_request(target: str | None = None, *, method: bytes = b"GET", **headers: str) -> Request:
    """Return a good token request, or one for another target; header names are written with `_` for `-`."""
    fields = {"metadata": "true", **headers}
    pairs = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items() if value)
    return Request(method, (target or token_target()).encode(), pairs, b"", http_1_0=False, keep_alive=True)


def token_target(resource: str = ARM, **parameters: str) -> str:
    """Return the target of a token request, its parameters encoded as a form's."""
    query = urlencode({"api-version": "2018-02-01", "resource": resource, **parameters})
    return f"/metadata/identity/oauth2/token?{query}"


def jwt(**claims: object) -> str:
    """Return a JWT of these claims with a signature of nothing."""
    parts = ({"typ": "JWT", "alg": "RS256"}, claims, {"signature": "none"})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
