"""Simulate hours of a sidecar in seconds: `python -m tests.contract.faults.simulated_day HOURS LIFETIME` prints JSON.

All of its own objects are real, from the bytes of a request to the packets of the exchange process; the clock is moved,
and Entra follows a script.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from random import Random

from tests.contract.faults.scripted_entra import UNKNOWN, Entra
from tests.support.fakes import CLIENT_ID, Clock, UnixClock, token_target
from tests.support.timeline import Timeline
from wisp.base.log import Log
from wisp.entra.messages import Result, TokenKey, pack_request, pack_result, unpack_request, unpack_result
from wisp.entra.tokens import Clocks, TokenStore
from wisp.http.messages import Reject, Request, Response
from wisp.http.parser import HeadCache, RequestReader
from wisp.imds.identities import Identities
from wisp.imds.passthrough import AlreadyForwarded, ForwardedRequest
from wisp.proxy.app import Front
from wisp.proxy.metrics import Metrics
from wisp.proxy.token_service import OtherEndpoints, TokenService

RESOURCES = ("https://management.azure.com/", "https://vault.azure.net", "https://database.windows.net/", "api://x")
GAP = 0.4
"""Seconds from one request to the next, as a rule."""


@dataclass
class Report:
    """The results of a simulation. Times in seconds, memory in MB of 1,000,000 bytes."""

    asked: int = 0
    """Requests that a token is owed for."""
    failed: int = 0
    waited: int = 0
    longest_wait: float = 0.0
    least_left: float = float("inf")
    other: int = 0
    """Requests for something else, or for nothing at all."""
    exchanges: int = 0
    mistakes: int = 0
    """Exchanges that Entra refused though nothing was wrong."""
    memory_after_an_hour: float = 0.0
    memory_at_the_end: float = 0.0


class Simulation:
    """A sidecar without sockets, its clients and its Entra."""

    def __init__(self, lifetime: int, seed: int = 7) -> None:
        self.clock = Clock(0.0)
        self.report = Report()
        self._random = Random(seed)  # noqa: S311 -- chance, not secrets
        self._entra = Entra(lifetime, seed)
        self._timeline = Timeline(self.clock)
        self._memo = HeadCache()
        self._store = TokenStore(self.begin, Clocks(self.clock, UnixClock(self.clock), self._random.random))
        self._metrics = Metrics()
        self._log = Log("info", os.open(os.devnull, os.O_WRONLY), self.clock)
        self.front = Front(self._load)
        self._visits = cycle((self._want, self._want, self._want, self._want, self._want, self._want, self._trouble))

    def _load(self) -> TokenService:
        beside = OtherEndpoints(self.front.health, (), _nowhere)
        return TokenService(self._store, Identities(CLIENT_ID), self._metrics, self._log, beside)

    def live(self, hours: float) -> Report:
        """Run the simulation until then."""
        self._timeline.at(0.0, self._visit)
        self._timeline.run(min(hours, 1.0) * 3600.0, self._store)
        self.report.memory_after_an_hour = anonymous()
        self._timeline.run(hours * 3600.0, self._store)
        self.report.memory_at_the_end = anonymous()
        self.report.mistakes = self._entra.mistakes
        return self.report

    def begin(self, ask: TokenKey, done: Callable[[Result], None]) -> None:
        """Start an exchange, as the exchange process does: packets in both directions."""
        self.report.exchanges += 1
        number, asked, _ = unpack_request(pack_request(self.report.exchanges, ask))
        result, seconds = self._entra.answer(asked, self.clock.now)
        packet = pack_result(number, result)
        self._metrics.exchanged("granted", None, seconds)
        self._log.info("token exchanged", client_id=ask.client_id, resource=ask.resource)
        self._timeline.at(self.clock.now + seconds, lambda: done(unpack_result(packet)[1]))

    def _visit(self) -> None:
        next(self._visits)()
        self._timeline.at(self.clock.now + self._random.uniform(0.0, 2 * GAP), self._visit)

    def _want(self) -> None:
        """Request a token that must be granted."""
        self.report.asked += 1
        begun = self.clock.now
        resource = self._random.choice(RESOURCES)
        selector = {"client_id": CLIENT_ID} if self._random.random() < 0.5 else {}
        extra = f"x-ms-client-request-id: {self.report.asked}\r\n" if self._random.random() < 0.3 else ""
        self._send(_get(token_target(resource, **selector), extra), lambda response: self._hear(begun, response))

    def _hear(self, begun: float, response: Response) -> None:
        self.report.failed += response.status != 200
        self.report.waited += self.clock.now > begun
        self.report.longest_wait = max(self.report.longest_wait, self.clock.now - begun)
        if response.status == 200:
            self.report.least_left = min(self.report.least_left, float(json.loads(response.body)["expires_in"]))

    def _trouble(self) -> None:
        """Send a request that is not for a token, or is malformed."""
        self.report.other += 1
        number = self.report.other
        unknown = token_target(f"{UNKNOWN}{number // 60}")
        odd = (
            _get("/readyz"),
            _get("/metrics"),
            _get(unknown),
            _get(f"/{number}"),
            _get(token_target(f"x{number}"), metadata=False),
            _get(f"/metadata/identity/oauth2/token?resource={number}"),
            b"GET /%d\r\n" % number + b"\0" * (number % 500) + b"\r\n\r\n",
        )
        self._send(odd[number % len(odd)], lambda _: None)

    def _send(self, data: bytes, reply: Callable[[Response], None]) -> None:
        event = RequestReader(self._memo).receive(data)
        if isinstance(event, Request):
            at_once = self.front.answer(event, reply)
            assert at_once is None or isinstance(at_once, Response)  # nothing is passed on here
        else:
            assert isinstance(event, Reject)
            at_once = self.front.rejected(event)
        if at_once is not None:
            reply(at_once)


def _nowhere(_judged: ForwardedRequest | AlreadyForwarded, _request: Request) -> Response:
    raise AssertionError("nothing is passed on here")


def _get(target: str, extra: str = "", *, metadata: bool = True) -> bytes:
    header = "Metadata: true\r\n" if metadata else ""
    return f"GET {target} HTTP/1.1\r\nHost: 169.254.169.254\r\n{header}{extra}\r\n".encode()


def anonymous() -> float:
    """Return this process' anonymous memory in MB."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    report = Simulation(int(sys.argv[2])).live(float(sys.argv[1]))
    sys.stdout.write(json.dumps(asdict(report)))
