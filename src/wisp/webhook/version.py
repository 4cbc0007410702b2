"""Learns the API server's version, on which it depends whether sidecars are native ones."""

import asyncio
from collections.abc import Callable

import msgspec

from wisp.admission.contract import parse_version
from wisp.base.errors import SettingError
from wisp.base.log import Log
from wisp.kubernetes.client import Api, Ask, UnansweredError
from wisp.kubernetes.watch import by_chance

_LOOK = 600.0
"""Seconds between looks: clusters are upgraded under a running webhook."""


class _Version(msgspec.Struct):
    gitVersion: str  # noqa: N815 -- the API's name


class Version:
    """Tell `learned` the version, again when it changes."""

    def __init__(self, api: Api, learned: Callable[[tuple[int, int]], None], log: Log) -> None:
        self._api = api
        self._learned = learned
        self._log = log
        self.known: tuple[int, int] | None = None

    async def run(self) -> None:
        """Ask for ever."""
        failures = 0
        while True:
            try:
                await self.look()
                failures = 0
            except (UnansweredError, SettingError) as error:
                failures += 1
                self._log.warning("API server's version unknown", reason=str(error))
            rest = by_chance(failures) if self.known is None else _LOOK
            await asyncio.sleep(rest)

    async def look(self) -> None:
        """Ask once. Raise UnansweredError, or SettingError where the answer is no version."""
        reply = await self._api.ask(Ask("/version"))
        try:
            version = parse_version(msgspec.json.decode(reply.body, type=_Version).gitVersion)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UnansweredError(f"/version: HTTP {reply.status}") from None
        if version != self.known:
            self.known = version
            self._learned(version)
            self._log.info("API server's version", version=f"{version[0]}.{version[1]}")
