"""A server process on asyncio: a listener for its clients and one for health pages, until a signal drains it."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import NamedTuple

from wisp import __version__
from wisp.base.log import Log
from wisp.http.asyncio_server import AsyncApplication, AsyncioServer, bind, keep_deadlines
from wisp.http.connection import Limits, Times
from wisp.http.tls import Presented

TIMES = Times(message=10.0, answer=30.0, idle=180.0)
"""Seconds. API servers close idle connections after 90 seconds; with a longer time here, that is left to them, and no
request arrives on a connection that is being closed."""
_DRAIN_SECONDS = 10.0
"""Time at the end for requests that are being answered."""

# A TLS handshake takes up to 61 KiB (OpenSSL 3.0), an idle TLS connection 17 KiB, or 33 KiB with a part of a record.
# Both numbers of connections together stay below 1,024, the limit of file descriptors in many containers.
CONNECTIONS = 512
BYTES = 16 * 1024 * 1024
HEALTH_CONNECTIONS = 256
HEALTH_BYTES = 1024 * 1024
_BUFFER = 64 * 1024
_HEALTH_BUFFER = 8 * 1024


class ListenOptions(NamedTuple):
    """Where to listen, and when to stop; times are in seconds."""

    port: int
    address: str = "::"
    health_port: int = 9440
    health_address: str = "::"
    connections_per_source: int = 256
    """Connections of one source address to each port; 0: no limit."""
    shutdown_delay: float = 5.0
    """How long to serve after SIGTERM, until the Service no longer sends requests here."""


class AsyncioProcess:
    """Serve an application by HTTPS, and health pages by HTTP. Raise SettingError if a port cannot be listened on.

    `largest_body`: bytes of the largest request.
    """

    def __init__(
        self,
        options: ListenOptions,
        application: AsyncApplication,
        health: AsyncApplication,
        presented: Presented,
        *,
        largest_body: int,
    ) -> None:
        per_source = options.connections_per_source
        self._shutdown_delay = options.shutdown_delay
        self._stopping = asyncio.Event()
        buffer = min(_BUFFER, largest_body // 4)  # clients that send more than is read would fill it
        self.main = AsyncioServer(
            bind(options.address, options.port, buffer=buffer),
            application,
            limits=Limits(CONNECTIONS, per_source, BYTES, largest_body, TIMES),
            tls=presented.context,
        )
        self.health = AsyncioServer(
            bind(options.health_address, options.health_port, buffer=_HEALTH_BUFFER),
            health,
            limits=Limits(HEALTH_CONNECTIONS, per_source, HEALTH_BYTES, times=TIMES),
        )

    @property
    def stopping(self) -> bool:
        """Whether a signal has arrived."""
        return self._stopping.is_set()

    async def run(self, coroutines: Iterable[Coroutine[None, None, None]], log: Log) -> None:
        """Serve until SIGTERM or SIGINT, then drain; run `coroutines` meanwhile."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
            tasks.append(group.create_task(keep_deadlines((self.main, self.health))))
            self.main.open()
            self.health.open()
            log.info("listening", port=self.main.port, health_port=self.health.port, version=__version__)
            gc.collect()
            gc.freeze()  # what exists now is permanent: the collector need not examine it again
            await self._stopping.wait()
            log.info("stopping")
            await self._drain()
            log.info("stopped")
            for task in tasks:
                task.cancel()

    async def _drain(self) -> None:
        """Report not ready while requests still arrive and are answered; then finish those that have arrived."""
        self.main.host.closing = True
        await asyncio.sleep(self._shutdown_delay)
        self.main.close()
        await self.main.drain(_DRAIN_SECONDS)
        self.health.close()
        await self.health.drain(1.0)


def run_on_uvloop(main: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run `main` on uvloop until it ends."""
    import uvloop  # noqa: PLC0415 -- only a server needs it

    with suppress(KeyboardInterrupt):
        uvloop.run(main())
