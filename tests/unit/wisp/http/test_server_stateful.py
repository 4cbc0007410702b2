"""Whatever clients do in any order, each gets its own answers in order, and nothing of them stays in memory."""

from contextlib import ExitStack
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.unit.wisp.http.world import AsyncioWorld, Client, World

MOST = 5


@dataclass(eq=False)
class PipeliningClient:
    """A client, its complete requests, and the rest of a request that it has started to send."""

    client: Client
    asked: list[bytes] = field(default_factory=list)
    rest: bytes = b""


class Clients(RuleBasedStateMachine):
    """Clients of one server: they send in pieces, wait, leave and reset, while time passes and answers come late."""

    driver: type[World] = World
    asking_clients = Bundle("asking_clients")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world = self.stack.enter_context(self.driver.made(most=MOST))
        self.known: list[PipeliningClient] = []
        self.number = 0

    @rule(target=asking_clients)
    def connect(self) -> PipeliningClient:
        """Let a client connect; an idle one may be evicted for it."""
        pipeliner = PipeliningClient(self.world.connect())
        self.known.append(pipeliner)
        self.world.settle()
        return pipeliner

    @rule(pipeliner=asking_clients, where=st.sampled_from([b"", b"", b"/later"]), cut=st.integers(0, 100))
    def ask(self, pipeliner: PipeliningClient, where: bytes, cut: int) -> None:
        """Send the rest of the started request, and start another one."""
        self.number += 1
        target = b"%b/%d" % (where, self.number)
        request = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target
        cut %= len(request)
        pipeliner.client.send(pipeliner.rest + request[:cut])
        pipeliner.rest = request[cut:]
        pipeliner.asked.append(target)
        self.world.settle()

    @rule(pipeliner=asking_clients)
    def finish(self, pipeliner: PipeliningClient) -> None:
        """Send the rest of the started request."""
        pipeliner.client.send(pipeliner.rest)
        pipeliner.rest = b""
        self.world.settle()

    @rule(pipeliner=asking_clients, where=st.sampled_from([b"", b"/later"]), count=st.integers(1, 5))
    def ask_many(self, pipeliner: PipeliningClient, where: bytes, count: int) -> None:
        """Send several requests at once."""
        for _ in range(count):
            self.ask(pipeliner, where, 0)
        self.finish(pipeliner)

    @rule(pipeliner=consumes(asking_clients))
    def half_close(self, pipeliner: PipeliningClient) -> None:
        """Close the sending side, and wait for the answers."""
        if pipeliner.client.ended is None:
            pipeliner.client.half_close()
        self.world.settle()

    @rule(pipeliner=consumes(asking_clients))
    def vanish(self, pipeliner: PipeliningClient) -> None:
        """Reset the connection."""
        pipeliner.client.vanish()
        self.world.settle()

    @rule(number=st.integers(0, 100))
    def reply(self, number: int) -> None:
        """Let the application answer one of the pending requests, in any order."""
        pending_replies = self.world.application.pending_replies
        if pending_replies:
            self.world.application.reply(number % pending_replies)
            self.world.settle()

    @rule(seconds=st.sampled_from([0.05, 1.0, 4.0, 6.0, 130.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.after(seconds)

    @invariant()
    def answers_match_the_requests(self) -> None:
        """Every answer belongs to the client's own next request, except the 408 of a late request."""
        for pipeliner in self.known:
            for answer, target in zip(pipeliner.client.answers, pipeliner.asked, strict=False):
                assert (answer.status, answer.body) == (200, target) or answer.status == 408
            assert len(pipeliner.client.answers) <= len(pipeliner.asked)

    @invariant()
    def limits_hold(self) -> None:
        """Check the number of connections and of the loop's descriptors: the connections and the listener."""
        assert len(self.world.server.peers) <= MOST + 1  # the one for newcomers while nobody can give way
        assert self.world.watched <= MOST + 2

    def teardown(self) -> None:
        """Stop the server: it holds nothing within its time."""
        while self.world.application.pending_replies:
            self.world.application.reply()
            self.world.settle()
        self.world.stop()
        self.world.after(5)
        assert self.world.stopped
        assert not [pipeliner for pipeliner in self.known if pipeliner.client.ended is None and pipeliner.client.move()]
        self.stack.close()


class AsyncioClients(Clients):
    """Clients of the asyncio server."""

    driver = AsyncioWorld


half = settings(deadline=None, max_examples=settings().max_examples // 2, stateful_step_count=40)
Clients.TestCase.settings = AsyncioClients.TestCase.settings = half
TestClients = Clients.TestCase
TestAsyncioClients = AsyncioClients.TestCase
