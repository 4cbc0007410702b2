"""Service accounts: a cache that a watch fills, and bounded reads from the API server for what the cache lacks.

Of an account only its name and the annotations and labels that begin with `PREFIX` are held.

Reviews need no authentication, so whoever reaches the webhook chooses the names that it looks up. Therefore reads are
limited: one at a time for an account, `READS` at a time for all accounts that the watch has brought and as many for all
others, so that invented names never delay the account of a real pod. What is missing is remembered for `ABSENCE`.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeAlias

from wisp.kubernetes.client import Ask, Reply, UnansweredError
from wisp.kubernetes.types import METADATA, Failed, Metadata, item_of, slim, status_of
from wisp.kubernetes.watch import Kind

PREFIX = "azure.workload.identity/"
CLIENT_ID = PREFIX + "client-id"
ACCOUNTS = Kind("serviceaccounts", "/api/v1/serviceaccounts")

PATIENCE = 3.0
"""Seconds that the API server has for one account: an admission webhook has 10 in all, and may be given fewer."""

ABSENCE = 2.0
"""Seconds for which a service account that does not exist is not asked for again, unless the watch brings it."""
ABSENT_LIMIT = 1024
"""Names of missing accounts that are remembered: 600 kB at most."""
READS = 4
"""Reads at a time, for known accounts and for unknown ones each."""
WAITING = 256
"""Lookups that wait for such a read; as many as the connections of one source, so that one source fills no queue."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAMESPACE = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}")
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
"""RFC 1123, as API servers check names: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""


class Absent(NamedTuple):
    """The API server says that there is no such account."""


class Unknown(NamedTuple):
    """Whether there is one cannot be said just now."""

    reason: str


Account: TypeAlias = dict[str, Any]
Found: TypeAlias = Account | Absent | Unknown


class Asker(Protocol):
    """What speaks to the API server."""

    async def ask(self, ask: Ask, patience: float | None = None) -> Reply:
        """Return the answer. Raise UnansweredError."""


class _Lane:
    """The reads of one priority: `turn` admits a few at a time, in the order in which they came."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(READS)
        self.lookups = 0
        """Under way or waiting."""


class Accounts:
    """A cache that a watcher fills; `get` does not wait, `look_up` does. `clock` gives steady seconds."""

    def __init__(self, api: Asker, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._held: dict[tuple[str, str], Account | None] = {}
        """None: an account that says nothing of identities, which is most of them."""
        self._absent: dict[tuple[str, str], float] = {}
        """Until when an account is taken to be missing, the oldest entry first."""
        self._waiting: dict[tuple[str, str], asyncio.Task[Found]] = {}
        """Lookups whose read has not been sent yet, which later callers join."""
        self._reading: dict[tuple[str, str], asyncio.Task[Found]] = {}
        self._known, self._unknown = _Lane(), _Lane()
        self.reads = 0
        """Reads that were sent to the API server."""
        self.synced = False
        """Whether the first list is there."""

    def __len__(self) -> int:
        return len(self._held)

    def get(self, namespace: str, name: str) -> Account | None:
        """Return the account, where it is at hand with a client id.

        One without may just be getting it (`kubectl annotate`, then a pod): that is worth a look at the API server.
        """
        held = self.held(namespace, name)
        return held if held is not None and held["metadata"]["annotations"].get(CLIENT_ID) else None

    def held(self, namespace: str, name: str) -> Account | None:
        """Return the account, where it is at hand and says something of identities."""
        return self._held.get((namespace, name))

    async def look_up(self, namespace: str, name: str) -> Found:
        """Ask the API server, once however many wait; return what is at hand if it does not answer.

        The read is sent after the call: an account may have got its annotation since an earlier read was sent.
        A name that no account can have, and one found missing less than `ABSENCE` ago, cause no read.
        """
        key = (namespace, name)
        if not _NAMESPACE.fullmatch(namespace) or not _NAME.fullmatch(name):
            return Absent()
        if key not in self._held and self._clock() < self._absent.get(key, 0.0):
            return Absent()
        lookup = self._waiting.get(key)
        if lookup is None:
            lane = self._known if key in self._held else self._unknown
            if lane.lookups >= READS + WAITING:
                return self._or_held(key, Unknown("too many service accounts are being looked up"))
            lookup = self._begin(lane, key)
        return self._or_held(key, await asyncio.shield(lookup))  # whoever hangs up, the others still want it

    def _begin(self, lane: _Lane, key: tuple[str, str]) -> asyncio.Task[Found]:
        def end(_: asyncio.Task[Found]) -> None:
            lane.lookups -= 1

        lane.lookups += 1
        lookup = self._waiting[key] = asyncio.ensure_future(self._in_turn(lane, key))
        lookup.add_done_callback(end)
        return lookup

    async def _in_turn(self, lane: _Lane, key: tuple[str, str]) -> Found:
        begun, was_held = self._clock(), key in self._held
        if key in self._reading:
            await asyncio.wait({self._reading[key]})
        async with lane.turn:
            lookup = self._waiting.pop(key)
            account = self.get(*key)
            if account is not None:  # the watch has brought it meanwhile
                return account
            if self._clock() - begun > PATIENCE:
                return Unknown("the lookups before it took too long")
            self._reading[key] = lookup
            try:
                found = await self._read(*key)
            finally:
                del self._reading[key]
        if isinstance(found, Absent):
            if key in self._held and not was_held:
                return Unknown("it has just been made")
            self._remember_absent(key)
        return found

    def _remember_absent(self, key: tuple[str, str]) -> None:
        self._absent.pop(key, None)
        self._absent[key] = self._clock() + ABSENCE
        if len(self._absent) > ABSENT_LIMIT:
            del self._absent[next(iter(self._absent))]

    def _or_held(self, key: tuple[str, str], found: Found) -> Found:
        if isinstance(found, Unknown) and key in self._held:
            return self._held[key] or _account(Metadata(key[1], key[0]))
        return found

    async def _read(self, namespace: str, name: str) -> Found:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        self.reads += 1
        try:
            reply = await self._api.ask(Ask(path, accept=METADATA), PATIENCE)
        except UnansweredError as error:
            return Unknown(str(error))
        if reply.status == 404:
            return Absent()
        if reply.status != 200:
            return Unknown(status_of(reply.status, reply.body).message)
        found = item_of(reply.body)
        return Unknown(found.reason) if isinstance(found, Failed) else _account(slim(found, PREFIX))

    def slim(self, metadata: Metadata) -> Metadata:
        """Return what of an account matters."""
        return slim(metadata, PREFIX)

    def replace(self, objects: Iterable[Metadata]) -> None:
        """Take a whole list."""
        self._held = {(each.namespace, each.name): _worth(each) for each in objects}
        self._absent.clear()
        self.synced = True

    def put(self, metadata: Metadata) -> None:
        """Take one new or changed account."""
        self._held[metadata.namespace, metadata.name] = _worth(slim(metadata, PREFIX))
        self._absent.pop((metadata.namespace, metadata.name), None)

    def drop(self, metadata: Metadata) -> None:
        """Forget one."""
        self._held.pop((metadata.namespace, metadata.name), None)


def _worth(metadata: Metadata) -> Account | None:
    return _account(metadata) if metadata.annotations or metadata.labels else None


def _account(metadata: Metadata) -> Account:
    return {
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "annotations": metadata.annotations or {},
            "labels": metadata.labels or {},
        }
    }
