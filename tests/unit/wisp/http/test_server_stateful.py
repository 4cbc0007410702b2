"""Whatever clients do, in whatever order: each hears its own answers, in order, and nothing is kept of them."""

from contextlib import ExitStack
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.unit.wisp.http.world import AsyncioWorld, Client, World

MOST = 5


@dataclass(eq=False)
class Asking:
    """A client, what it has asked in whole, and the rest of a request that it has begun to send."""

    client: Client
    asked: list[bytes] = field(default_factory=list)
    rest: bytes = b""


class Clients(RuleBasedStateMachine):
    """Clients of one server: they ask in pieces, wait, leave and vanish, while time passes and answers come late."""

    driver: type[World] = World
    asking_clients = Bundle("asking_clients")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world = self.stack.enter_context(self.driver.made(most=MOST))
        self.known: list[Asking] = []
        self.number = 0

    @rule(target=asking_clients)
    def connect(self) -> Asking:
        """Let a client come; one that is idle may have to go for it."""
        asking = Asking(self.world.connect())
        self.known.append(asking)
        self.world.settle()
        return asking

    @rule(asking=asking_clients, where=st.sampled_from([b"", b"", b"/later"]), cut=st.integers(0, 100))
    def ask(self, asking: Asking, where: bytes, cut: int) -> None:
        """Send the rest of what was begun, and begin another request."""
        self.number += 1
        target = b"%b/%d" % (where, self.number)
        request = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target
        cut %= len(request)
        asking.client.send(asking.rest + request[:cut])
        asking.rest = request[cut:]
        asking.asked.append(target)
        self.world.settle()

    @rule(asking=asking_clients)
    def finish(self, asking: Asking) -> None:
        """Send the rest of what was begun."""
        asking.client.send(asking.rest)
        asking.rest = b""
        self.world.settle()

    @rule(asking=asking_clients, where=st.sampled_from([b"", b"/later"]), count=st.integers(1, 5))
    def ask_many(self, asking: Asking, where: bytes, count: int) -> None:
        """Send several requests at once."""
        for _ in range(count):
            self.ask(asking, where, 0)
        self.finish(asking)

    @rule(asking=consumes(asking_clients))
    def half_close(self, asking: Asking) -> None:
        """Ask no more, and wait for what was asked."""
        if asking.client.ended is None:
            asking.client.half_close()
        self.world.settle()

    @rule(asking=consumes(asking_clients))
    def vanish(self, asking: Asking) -> None:
        """Reset the connection."""
        asking.client.vanish()
        self.world.settle()

    @rule(number=st.integers(0, 100))
    def reply(self, number: int) -> None:
        """Let the application answer one of those it owes, in any order."""
        owed = self.world.application.owed
        if owed:
            self.world.application.reply(number % owed)
            self.world.settle()

    @rule(seconds=st.sampled_from([0.05, 1.0, 4.0, 6.0, 130.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.after(seconds)

    @invariant()
    def answers_are_those_asked_for(self) -> None:
        """Every answer is to the client's own next request; only a request that came too late may end it otherwise."""
        for asking in self.known:
            for answer, target in zip(asking.client.answers, asking.asked, strict=False):
                assert (answer.status, answer.body) == (200, target) or answer.status == 408
            assert len(asking.client.answers) <= len(asking.asked)

    @invariant()
    def no_more_than_allowed(self) -> None:
        """Check the limit, on connections and on what the loop watches: those and the listener."""
        assert len(self.world.server.peers) <= MOST + 1  # the one for newcomers while nobody can give way
        assert self.world.watched <= MOST + 2

    def teardown(self) -> None:
        """End the server: it has nothing left, within its time."""
        while self.world.application.owed:
            self.world.application.reply()
            self.world.settle()
        self.world.stop()
        self.world.after(5)
        assert self.world.stopped
        assert not [asking for asking in self.known if asking.client.ended is None and asking.client.move()]
        self.stack.close()


class AsyncioClients(Clients):
    """Clients of the asyncio server."""

    driver = AsyncioWorld


half = settings(deadline=None, max_examples=settings().max_examples // 2, stateful_step_count=40)
Clients.TestCase.settings = AsyncioClients.TestCase.settings = half
TestClients = Clients.TestCase
TestAsyncioClients = AsyncioClients.TestCase
