"""The vocabulary of attacks: clients that misbehave, many at a time, as scripts for asyncio.

An attack runs in a separate process (`python -m tests.siege.attacker`), outside the control group, and is bounded in
connections and seconds. It prints when it is at full strength, continues until its standard input ends, and reports
what became of its connections.
"""

import asyncio
import contextlib
import json
import resource
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias, TypeVar

import uvloop

AT_FULL_STRENGTH = "at full strength"
LONGEST = 60.0
"""Seconds after which an attack ends by itself."""
_GRACE = 20.0
"""Seconds that a client has to finish what it does once the attack is to stop."""
_PAUSE = 0.005
"""Seconds before a client begins again. With MOST_ROUNDS it bounds the load."""
MOST_ROUNDS = 200
_RESET = struct.pack("ii", 1, 0)
"""struct linger, on, for no seconds (socket(7)): closing resets the connection."""


_PIECE = 16384
"""Bytes: a record of TLS."""


class Ports(NamedTuple):
    """Where to attack; the sidecar has one port."""

    main: int
    health: int


class Answer(NamedTuple):
    """An HTTP answer that arrived complete."""

    status: int
    body: bytes


T = TypeVar("T")
Script: TypeAlias = "Callable[[Client], Awaitable[None]]"
"""What one client does on one connection."""


class AttackRun:
    """The attack: how many clients there are, and what became of what they did."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.stopping = asyncio.Event()
        self.outcomes: Counter[str] = Counter()
        self.at_strength: set[int] = set()
        self.full_strength = asyncio.Event()
        self._clients = 0

    async def crowd(self, clients: int, script: Script, *, sources: int = 1) -> None:
        """Have `clients` follow `script` at once, each at least once and again until the attack stops."""
        first = self._clients
        self._clients += clients
        async with asyncio.TaskGroup() as group:
            for number in range(first, first + clients):
                group.create_task(self._member(number, source(number % sources), script))

    async def _member(self, number: int, address: str, script: Script) -> None:
        for _ in range(MOST_ROUNDS):
            client = Client(self, number, address)
            try:
                await self._bounded(client, script)
            except (OSError, EOFError):  # errors of TLS are OSErrors, too
                self.outcomes["closed"] += 1
            finally:
                client.leave()
            self.arrived(number)
            if self.stopping.is_set():
                return
            await asyncio.sleep(_PAUSE)
        await self.stopping.wait()

    async def _bounded(self, client: "Client", script: Script) -> None:
        """Follow the script until the attack stops, and to its end where an answer is being read."""
        work = asyncio.ensure_future(script(client))
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and client.awaits_answer:
                await asyncio.wait((work,), timeout=_GRACE)
            if work.done():
                work.result()
            elif client.awaits_answer:
                self.outcomes["unfinished"] += 1
        finally:
            work.cancel()
            stop.cancel()
            await asyncio.wait((work, stop))  # the socket is closed next, and may not be in use any more

    def arrived(self, number: int) -> None:
        """Record that a client is at full strength."""
        self.at_strength.add(number)
        if len(self.at_strength) == self._clients:
            self.full_strength.set()


def source(number: int) -> str:
    """Return the address of an attacker: none is that of genuine clients, which come from 127.0.0.1."""
    return f"127.66.{number // 250}.{number % 250 + 1}"


class Client:
    """One connection of an attacker, in the clear or over TLS.

    TLS is driven by hand, so that nothing is read before the script wants it, and bytes can be sent beneath it.
    """

    def __init__(self, run: AttackRun, number: int, address: str) -> None:
        self.run = run
        self.number = number
        self.awaits_answer = False
        """Whether everything was sent, and the answer must arrive."""
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._received = b""

    async def open(self, *, tls: bool = False, health: bool = False, receive_buffer: int = 0) -> None:
        """Connect to the main port, or to the health port; a small `receive_buffer` makes a slow reader."""
        own, ports = self._socket, self.run.ports
        own.settimeout(0)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # Without this, binding would take a port away from all other addresses (ip(7)).
        own.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        own.bind((self._address, 0))
        await self._loop.sock_connect(own, ("127.0.0.1", ports.health if health else ports.main))
        if tls:
            self._tls = _context().wrap_bio(self._incoming, self._outgoing, server_hostname="wisp-webhook.wisp.svc")
            await self._with_records(self._tls.do_handshake)

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        if self._tls is None:
            await self._loop.sock_sendall(self._socket, data)
            return
        for start in range(0, len(data), _PIECE):
            self._tls.write(data[start : start + _PIECE])
            await self.send_beneath_tls(self._outgoing.read())

    async def send_beneath_tls(self, data: bytes) -> None:
        """Send `data` unencrypted, also on a connection with TLS."""
        await self._loop.sock_sendall(self._socket, data)

    async def trickle(self, data: bytes, pause: float) -> None:
        """Send `data` byte by byte, `pause` seconds apart, until the attack stops."""
        for byte in data:
            await self.send(bytes((byte,)))
            self.run.arrived(self.number)
            await asyncio.sleep(pause)  # to be slow is what it is for

    async def answer(self, *, pause: float = 0.0, piece: int = _PIECE) -> Answer:
        """Read an answer whole, `piece` bytes at a time and `pause` seconds apart, and note its outcome."""
        self.awaits_answer = True
        self.run.arrived(self.number)
        while b"\r\n\r\n" not in self._received:
            self._received += await self._read_more(piece)
        head, _, rest = self._received.partition(b"\r\n\r\n")
        body, length = bytearray(rest), _length(head)
        while len(body) < length:
            enough = min(length, len(body) + piece)
            while len(body) < enough:
                body += await self._read_more(piece)
            await asyncio.sleep(pause)  # as above
        self._received = bytes(body[length:])
        answer = Answer(int(head.split(b" ", 2)[1]), bytes(body[:length]))
        self.awaits_answer = False
        self.run.outcomes[outcome_of(answer)] += 1
        return answer

    async def hold(self) -> None:
        """Do nothing until the server closes the connection or answers; record which."""
        self.run.arrived(self.number)
        data = await self._read_more(_PIECE)
        self.run.outcomes[data.split(b" ", 2)[1].decode() if data.startswith(b"HTTP/") else "closed"] += 1

    async def hold_unread(self) -> None:
        """Keep the connection open without reading until the attack stops."""
        self.run.arrived(self.number)
        await self.run.stopping.wait()

    def half_close(self) -> None:
        """Close the sending side, and continue reading (not with TLS)."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close the connection with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.leave()

    def leave(self) -> None:
        """Close the connection."""
        self._socket.close()

    async def _read_more(self, most: int) -> bytes:
        """Return the next bytes, `most` at most. Raise EOFError at the end."""
        tls = self._tls
        if tls is None:
            data = await self._loop.sock_recv(self._socket, most)
        else:
            data = await self._with_records(lambda: tls.read(most))
        if not data:
            raise EOFError
        return data

    async def _with_records(self, step: Callable[[], T]) -> T:
        """Take a step of TLS, with as many of the other side's records as it needs."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self.send_beneath_tls(self._outgoing.read())
                records = await self._loop.sock_recv(self._socket, _PIECE)
                if not records:
                    raise EOFError from None
                self._incoming.write(records)
            else:
                await self.send_beneath_tls(self._outgoing.read())
                return result


_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; Python has no name for it


_CONTEXTS: list[ssl.SSLContext] = []


def _context() -> ssl.SSLContext:
    """Return the attackers' TLS context, which verifies nothing."""
    if not _CONTEXTS:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _CONTEXTS.append(context)
    return _CONTEXTS[0]


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def outcome_of(answer: Answer) -> str:
    """Return the name of an answer: "admitted" or "refused" for a review, else the status."""
    if answer.status == 200 and answer.body.startswith(b"{"):
        with contextlib.suppress(ValueError):
            document = json.loads(answer.body)
            if document.get("kind") == "AdmissionReview":
                return "admitted" if document["response"]["allowed"] else "refused"
    return str(answer.status)


async def run_attack(ports: Ports, attack: Callable[[AttackRun], Awaitable[None]]) -> AttackRun:
    """Run the attack until standard input ends, LONGEST at most; print when it is at full strength."""
    run = AttackRun(ports)
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    async def announce() -> None:
        await run.full_strength.wait()
        _say(AT_FULL_STRENGTH)

    async def stop() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(commands.read(), LONGEST)
        run.stopping.set()

    async with asyncio.TaskGroup() as group:
        helpers = [group.create_task(announce()), group.create_task(stop())]
        await attack(run)
        for task in helpers:
            task.cancel()
    return run


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(group: str, name: str, port: str, health_port: str) -> None:
    """Run the case `name` of a group, webhook or sidecar, against those ports; print the outcomes as JSON."""
    from tests.siege.cases import GROUPS  # noqa: PLC0415 -- the cases are written in the words of this module

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    attack = GROUPS[group][name].attack
    run = uvloop.run(run_attack(Ports(int(port), int(health_port)), attack))
    _say(json.dumps(run.outcomes))


if __name__ == "__main__":
    # Under its own name, so that the cases' module finds the same classes.
    from tests.siege import attacker

    attacker.main(*sys.argv[1:])
