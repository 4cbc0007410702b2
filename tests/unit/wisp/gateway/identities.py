"""Tokens of identities, with a clock and an Entra that the test controls."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from tests.support.fakes import Clock, UnixClock, granted
from wisp.entra.freshness import Token
from wisp.entra.messages import Refused, Result, TokenKey
from wisp.entra.tokens import Clocks
from wisp.gateway.tokens import IdentityTokens
from wisp.http.epoll_server import Timed

TENANT = "11111111-2222-3333-4444-555555555555"
REQUEST_ID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
OTHER_ID = "1f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
DAY = 86400
REFUSED = Refused(401, "invalid_client", "AADSTS700016: ...", "refused", 700016)
EVENTUAL = Refused(401, "invalid_client", "AADSTS700213: ...", "refused", 700213)


def key_of(identity: int, scope: int = 0, *, claims: str = "") -> TokenKey:
    """Return the key of a token of an identity."""
    client_id = f"00000000-0000-0000-0000-{identity:012}"
    return TokenKey(client_id, f"https://{scope}.example/.default", "", TENANT, claims)


class Call(NamedTuple):
    """An exchange under way."""

    key: TokenKey
    done: Callable[[Result], None]
    request_id: str


class Entra:
    """Exchanges that answer when the test says so, or at once with `result`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.begun: list[Call] = []
        self.result: Result | None = None
        self.is_closed = False

    def begin(self, key: TokenKey, done: Callable[[Result], None], request_id: str) -> None:
        """Record a call."""
        call = Call(key, done, request_id)
        self.begun.append(call)
        if self.result is None:
            self.calls.append(call)
        else:
            asyncio.get_running_loop().call_soon(done, self.result)

    def close(self) -> None:
        """Record the end."""
        self.is_closed = True

    def answer(self, result: Result | None = None) -> None:
        """Answer the oldest call."""
        self.calls.pop(0).done(result or granted(expires_in=DAY))


class Timers:
    """Timed work that the test does when it moves the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.due: dict[Timed, float | None] = {}
        """When work is due."""

    def add_timed(self, timed: Timed) -> None:
        """Plan work."""
        self.due[timed] = timed.due()

    def remove_timed(self, timed: Timed) -> None:
        """Forget work."""
        self.due.pop(timed, None)

    def __len__(self) -> int:
        return len(self.due)

    def move_to(self, moment: float) -> None:
        """Do what is planned until then."""
        while planned := [(due, timed) for timed, due in self.due.items() if due is not None and due <= moment]:
            due, timed = min(planned, key=lambda each: each[0])
            self._clock.now = max(self._clock.now, due)
            timed.tick()
            self.add_timed(timed)
        self._clock.now = moment


class World:
    """Tokens of identities, with a clock and an Entra that the test controls."""

    def __init__(self, *, most: int = 100, longest_queued: float = 60.0) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.entra = Entra()
        clocks = Clocks(self.clock, UnixClock(self.clock), lambda: 0.0)
        self.tokens = IdentityTokens(self.entra, clocks, self.timers, most=most, longest_queued=longest_queued)

    async def ask(self, *keys: TokenKey, request_id: str = "") -> list[asyncio.Task[Token | Refused]]:
        """Begin a request for each key, and let everything run that can."""
        tasks = [asyncio.create_task(self.tokens.get(key, request_id)) for key in keys]
        await settle()
        return tasks

    async def hold(self, *keys: TokenKey, expires_in: int = DAY) -> None:
        """Put tokens into the stores."""
        self.entra.result = granted(expires_in=expires_in)
        assert all(isinstance(outcome, Token) for outcome in await outcomes(*await self.ask(*keys)))
        self.entra.result = None
        self.entra.begun.clear()

    async def pass_time(self, seconds: float) -> None:
        """Do what is due, and let everything run that can."""
        self.timers.move_to(self.clock.now + seconds)
        await settle()

    async def answer_all(self, result: Result | None = None) -> None:
        """Answer the calls under way, and those that follow."""
        while self.entra.calls:
            self.entra.answer(result)
            await settle()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def outcomes(*tasks: asyncio.Task[Token | Refused]) -> list[Token | Refused]:
    """Return what the requests got."""
    return list(await asyncio.gather(*tasks))
