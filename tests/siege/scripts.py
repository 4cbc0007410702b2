"""Scripts that attacks on both processes follow: connections in the clear that misbehave."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.siege.attacker import AttackRun, Client, Script

Attack = Callable[[AttackRun], Awaitable[None]]
MANY = 2000
"""Sources of an attack that no limit per source stops."""


def crowd(clients: int, script: Script, *, sources: int = 1) -> Attack:
    """Return the attack of `clients` that all follow one script."""
    return lambda run: run.crowd(clients, script, sources=sources)


def sending(data: bytes, *, tls: bool = False, health: bool = False) -> Script:
    """Send `data`, which may be empty, and wait; to the health port with `health`."""

    async def script(client: Client) -> None:
        await client.open(tls=tls, health=health)
        if data:
            await client.send(data)
        await client.hold()

    return script


def asking(*requests: bytes, tls: bool = False) -> Script:
    """Send requests on one connection and read each answer completely."""

    async def script(client: Client) -> None:
        await client.open(tls=tls)
        for request in requests:
            await client.send(request)
            await client.answer()

    return script


def reading_slowly(request: bytes, *, tls: bool = False) -> Script:
    """Send a request and read its answer to the end, 16 KiB at a time."""

    async def script(client: Client) -> None:
        await client.open(tls=tls, receive_buffer=4096)
        await client.send(request)
        await client.answer(pause=0.05, piece=16384)

    return script


def never_reading(request: bytes, times: int, *, tls: bool = False, health: bool = False) -> Script:
    """Send a request many times, as far as the server reads, and read nothing."""

    async def script(client: Client) -> None:
        await client.open(tls=tls, health=health, receive_buffer=4096)
        writing = asyncio.ensure_future(client.send(request * times))
        try:
            await client.hold_unread()
        finally:
            writing.cancel()

    return script


def trickling(data: bytes, *, tls: bool = False) -> Script:
    """Send `data` byte by byte."""

    async def script(client: Client) -> None:
        await client.open(tls=tls)
        await client.trickle(data, 0.1)

    return script


def resetting(data: bytes, *, tls: bool = False) -> Script:
    """Send `data` and reset the connection."""

    async def script(client: Client) -> None:
        await client.open(tls=tls)
        await client.send(data)
        client.reset()

    return script


def half_closing(data: bytes) -> Script:
    """Send `data`, close the sending side, and wait."""

    async def script(client: Client) -> None:
        await client.open()
        await client.send(data)
        client.half_close()
        await client.hold()

    return script


async def hasty(client: Client) -> None:
    """Connect and close."""
    await client.open()
