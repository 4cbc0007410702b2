"""A simulated Entra that follows a script: good hours, and bad minutes of every kind."""

import json
from random import Random
from typing import NamedTuple

from tests.support.fakes import jwt
from wisp.entra.exchange.interpret import interpret
from wisp.entra.messages import Refused, Result, TokenKey, unavailable
from wisp.entra.process import DEADLINE

UNKNOWN = "https://nobody.test/"
"""What resources that Entra does not know begin with."""

ROTATION = 48 * 60.0
"""Seconds from one assertion to the next: kubelet renews those of an hour at four fifths of their life."""

_AWAY = 0.3
"""Seconds for which, at worst, there is no token."""


class Phase(NamedTuple):
    """What Entra does to an exchange, and for how many seconds it does so."""

    condition: str
    seconds: float


HOUR = (
    Phase("up", 1500.0),
    Phase("down", 90.0),
    Phase("up", 400.0),
    Phase("slow", 120.0),
    Phase("throttling", 180.0),
    Phase("up", 300.0),
    Phase("hanging", 240.0),
    Phase("up", 170.0),
    Phase("failing", 600.0),
)
"""An hour's script, repeated every hour; the worst of it is ten minutes without a token."""

assert sum(phase.seconds for phase in HOUR) == 3600.0

_SECONDS = {"up": 0.03, "slow": 3.0, "down": 0.001, "throttling": 0.02, "hanging": DEADLINE, "failing": 0.5}
_REFUSED = json.dumps({"error": "invalid_client", "error_description": "AADSTS700213: No.", "error_codes": [700213]})
_NOBODY = json.dumps({"error": "invalid_resource", "error_description": "AADSTS500011: No.", "error_codes": [500011]})


def condition_at(now: float) -> str:
    """Return the condition at a moment."""
    left = now % 3600.0
    for phase in HOUR:
        left -= phase.seconds
        if left < 0:
            return phase.condition
    raise AssertionError


class Entra:
    """Answer exchanges by the script; in good phases one in fifty is refused."""

    def __init__(self, lifetime: int, seed: int) -> None:
        self._lifetime = lifetime
        self._random = Random(seed)  # noqa: S311 -- chance, not secrets
        self.mistakes = 0

    def answer(self, ask: TokenKey, now: float) -> tuple[Result, float]:
        """Return the result of an exchange that began at `now`, and its duration in seconds."""
        if now % ROTATION < _AWAY and now > ROTATION:
            return unavailable("no token file", cause="token_file", retry_after=2.0), 0.001
        condition = condition_at(now)
        if condition in ("down", "hanging"):
            return unavailable(f"Entra is {condition}"), _SECONDS[condition]
        status, retry_after, body = self._http(ask, condition)
        result = interpret(status, retry_after, body.encode(), now)
        self.mistakes += isinstance(result, Refused) and result.aadsts == 700213
        return result, _SECONDS[condition]

    def _http(self, ask: TokenKey, condition: str) -> tuple[int, str | None, str]:
        if condition == "throttling":
            return 429, "20", "{}"
        if condition == "failing":
            return 500, None, "<html>"
        if self._random.random() < 0.02:
            return 401, None, _REFUSED
        if ask.resource.startswith(UNKNOWN):
            return 400, None, _NOBODY
        token = jwt(aud=ask.resource, oid="object", jti=self._random.random(), pad="x" * 1500)
        return 200, None, json.dumps({"access_token": token, "expires_in": self._lifetime})
