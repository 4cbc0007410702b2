"""The vocabulary of attacks: clients that misbehave, many at a time, as scripts for asyncio.

An attack runs in a process of its own (`python -m tests.siege.besieging`), outside the control group, and is bounded in
connections and seconds. It says when it is at full strength, goes on until it is told to stop, and reports what became
of its connections.
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
from typing import NamedTuple, TypeAlias

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


_CLOSED = (OSError, EOFError, RuntimeError)
"""What a client meets on a connection that the other side has closed; RuntimeError is uvloop's word for it."""


class Ports(NamedTuple):
    """Where to attack; the sidecar has one port."""

    main: int
    health: int


class Answer(NamedTuple):
    """An HTTP answer that arrived complete."""

    status: int
    body: bytes


Script: TypeAlias = "Callable[[Client], Awaitable[None]]"
"""What one client does on one connection."""


class Front:
    """The attack: how many clients there are, and what became of what they did."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.stopping = asyncio.Event()
        self.outcomes: Counter[str] = Counter()
        self.at_strength: set[int] = set()
        self.full_strength = asyncio.Event()
        self._clients = 0

    async def crowd(self, clients: int, script: Script, *, sources: int = 1, rounds: int = MOST_ROUNDS) -> None:
        """Have `clients` follow `script` at once, each at least once and again until the attack stops."""
        first = self._clients
        self._clients += clients
        async with asyncio.TaskGroup() as group:
            for number in range(first, first + clients):
                group.create_task(self._member(number, source(number % sources), script, rounds))

    async def _member(self, number: int, address: str, script: Script, rounds: int) -> None:
        for _ in range(rounds):
            client = Client(self, number, address)
            try:
                await self._bounded(client, script)
            except _CLOSED:
                self.outcomes["closed"] += 1
            finally:
                with contextlib.suppress(*_CLOSED):
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

    def arrived(self, number: int) -> None:
        """Note that a client does its worst by now."""
        self.at_strength.add(number)
        if len(self.at_strength) == self._clients:
            self.full_strength.set()


def source(number: int) -> str:
    """Return the address of an attacker: none is that of genuine clients, which come from 127.0.0.1."""
    return f"127.66.{number // 250}.{number % 250 + 1}"


class Client:
    """One connection of an attacker."""

    def __init__(self, front: Front, number: int, address: str) -> None:
        self.front = front
        self.number = number
        self.awaits_answer = False
        """Whether everything was sent, and the answer must arrive."""
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._socket: socket.socket | None = None
        self._is_handed_over = False
        """Whether the socket is the event loop's, which closes it."""

    async def open(self, *, tls: bool = False, health: bool = False, receive_buffer: int = 0) -> None:
        """Connect to the main port, or to the health port; a small `receive_buffer` makes a slow reader."""
        await self._connect(self.front.ports.health if health else self.front.ports.main, receive_buffer)
        self._is_handed_over = True
        self._reader, self._writer = await asyncio.open_connection(
            sock=self._socket,
            ssl=_context() if tls else None,
            server_hostname="wisp-webhook.wisp.svc" if tls else None,
            limit=receive_buffer or 1 << 20,  # a slow reader has no buffer of its own either
        )

    async def _connect(self, port: int, receive_buffer: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # Without this, binding would take a port away from all other addresses (ip(7)).
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        self._socket.bind((self._address, 0))
        await asyncio.get_running_loop().sock_connect(self._socket, ("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    def send_beneath_tls(self, data: bytes) -> None:
        """Send `data` on a TLS connection without encrypting it."""
        assert self._socket is not None
        self._socket.send(data)

    async def trickle(self, data: bytes, pause: float) -> None:
        """Send `data` byte by byte, `pause` seconds apart, until the attack stops."""
        for byte in data:
            await self.send(bytes((byte,)))
            if await self._stops_within(pause):
                return
            self.front.arrived(self.number)

    async def answer(self, *, pause: float = 0.0, piece: int = 1 << 20) -> Answer:
        """Read an answer whole, `piece` bytes at a time and `pause` seconds apart, and note its outcome."""
        assert self._reader is not None
        self.awaits_answer = True
        self.front.arrived(self.number)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, missing = int(head.split(b" ", 2)[1]), _length(head)
        body = bytearray()
        while missing > 0:
            data = await self._reader.read(min(missing, piece))
            if not data:
                raise EOFError
            body += data
            missing -= len(data)
            if pause:
                await asyncio.sleep(pause)  # to be slow is what it is for
        self.awaits_answer = False
        answer = Answer(status, bytes(body))
        self.front.outcomes[outcome_of(answer)] += 1
        return answer

    async def hold(self) -> None:
        """Do nothing more until the other side closes the connection or the attack stops; note what was answered."""
        assert self._reader is not None
        self.front.arrived(self.number)
        data = await self._or_stop(self._reader.read(64))
        if data is not None:
            self.front.outcomes[data.split(b" ", 2)[1].decode() if data.startswith(b"HTTP/") else "closed"] += 1

    async def hold_unread(self) -> None:
        """Keep the connection, without reading, until the attack stops."""
        self.front.arrived(self.number)
        await self.front.stopping.wait()

    async def _or_stop(self, reading: Awaitable[bytes]) -> bytes | None:
        read, stop = asyncio.ensure_future(reading), asyncio.ensure_future(self.front.stopping.wait())
        try:
            await asyncio.wait((read, stop), return_when=asyncio.FIRST_COMPLETED)
            return read.result() if read.done() else None
        finally:
            for each in (read, stop):
                each.cancel()

    async def _stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.front.stopping.wait(), seconds)
        return self.front.stopping.is_set()

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on reading (not with TLS)."""
        assert self._writer is not None
        self._writer.write_eof()

    def reset(self) -> None:
        """Break the connection off with RST."""
        if self._socket is not None and self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.leave()

    def leave(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.transport.abort()
        elif self._socket is not None and not self._is_handed_over:
            self._socket.close()


_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; Python has no name for it


_CONTEXTS: list[ssl.SSLContext] = []


def _context() -> ssl.SSLContext:
    """Return the attackers' TLS: they check nothing."""
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
    """Return in a word what was answered: "admitted" and "refused" are the answers to reviews, others a status."""
    if answer.status == 200 and answer.body.startswith(b"{"):
        with contextlib.suppress(ValueError):
            document = json.loads(answer.body)
            if document.get("kind") == "AdmissionReview":
                return "admitted" if document["response"]["allowed"] else "refused"
    return str(answer.status)


async def besiege(ports: Ports, attack: Callable[[Front], Awaitable[None]]) -> Front:
    """Run the attack until standard input ends, LONGEST at most; print when it is at full strength."""
    front = Front(ports)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # it would report every connection that breaks, which is the purpose
    told = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)

    async def announce() -> None:
        await front.full_strength.wait()
        _say(AT_FULL_STRENGTH)

    async def stop() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.read(), LONGEST)
        front.stopping.set()

    async with asyncio.TaskGroup() as group:
        helpers = [group.create_task(announce()), group.create_task(stop())]
        await attack(front)
        for each in helpers:
            each.cancel()
    return front


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(group: str, name: str, port: str, health_port: str) -> None:
    """Run the case `name` of a group, webhook or sidecar, against those ports; print the outcomes as JSON."""
    from tests.siege.cases import GROUPS  # noqa: PLC0415 -- the cases are written in the words of this module

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    attack = GROUPS[group][name].attack
    front = uvloop.run(besiege(Ports(int(port), int(health_port)), attack))
    _say(json.dumps(front.outcomes))


if __name__ == "__main__":
    # Under its own name, so that the cases' module finds the same classes.
    from tests.siege import besieging

    besieging.main(*sys.argv[1:])
