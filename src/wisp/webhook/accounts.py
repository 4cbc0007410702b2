"""Service accounts: a cache that a watch fills, and a bounded number of reads for what the cache lacks.

Of an account only its name and the annotations and labels that begin with `PREFIX` are kept.

Reviews need no authentication, so any client that reaches the webhook chooses the names that it looks up. Therefore
reads are limited: one at a time for an account, `CONCURRENT_READS` at a time for all accounts that the watch has seen
and as many for all others, so that invented names never delay the account of a real pod. That an account does not exist
is remembered for `MISSING_SECONDS`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from wisp.admission.annotations import CLIENT_ID, PREFIX
from wisp.kubernetes.names import is_namespace, is_service_account
from wisp.kubernetes.types import (
    METADATA,
    ApiRequest,
    ApiUnavailableError,
    Failed,
    Metadata,
    Requester,
    Resource,
    parse_object,
    parse_status,
)

SERVICE_ACCOUNTS = Resource("serviceaccounts", "/api/v1/serviceaccounts")

READ_TIMEOUT = 3.0
"""Seconds for reading one account. An admission webhook has 10 in all by default, and may be given fewer."""

MISSING_SECONDS = 2.0
"""How long an account that does not exist is not read again, unless the watch reports it."""
MISSING_LIMIT = 1024
"""Missing accounts that are remembered: 600 kB at most."""
CONCURRENT_READS = 4
"""Reads at a time, for known accounts and for unknown accounts each."""
QUEUE_LIMIT = 256
"""Lookups that wait for such a read; as many as the connections of one source, so that one source fills no queue."""


class AccountMissing(NamedTuple):
    """The API server says that there is no such account."""


class AccountUnknown(NamedTuple):
    """It cannot be determined at the moment whether the account exists."""

    reason: str


ServiceAccount: TypeAlias = dict[str, Any]
Found: TypeAlias = ServiceAccount | AccountMissing | AccountUnknown
_Key: TypeAlias = tuple[str, str]


class _ReadQueue:
    """The reads of one priority: `turn` admits a few at a time, in the order in which they came."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(CONCURRENT_READS)
        self.length = 0
        """Lookups that wait or are being read."""


class ServiceAccounts:
    """A cache that a watcher fills. `get` does not wait, `look_up` does. `clock` gives monotonic seconds."""

    def __init__(self, api: Requester, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._cached: dict[_Key, ServiceAccount | None] = {}
        """None: an account without labels and annotations of ours, which is most of them."""
        self._missing: dict[_Key, float] = {}
        """Until when an account is taken to be missing, the oldest entry first."""
        self._waiting: dict[_Key, asyncio.Task[Found]] = {}
        """Lookups whose read has not been sent yet, which later callers join."""
        self._reading: dict[_Key, asyncio.Task[Found]] = {}
        self._known_queue, self._unknown_queue = _ReadQueue(), _ReadQueue()
        self.reads = 0
        """Reads that were sent to the API server."""
        self.synced = False
        """Whether the first list has arrived."""

    def __len__(self) -> int:
        return len(self._cached)

    def get(self, namespace: str, name: str) -> ServiceAccount | None:
        """Return the account if it is cached with a client id.

        An account without one may just be getting it (`kubectl annotate`, then a pod), so it is worth a read.
        """
        account = self.cached(namespace, name)
        return account if account is not None and account["metadata"]["annotations"].get(CLIENT_ID) else None

    def cached(self, namespace: str, name: str) -> ServiceAccount | None:
        """Return the account if it is cached with labels or annotations of ours."""
        return self._cached.get((namespace, name))

    async def look_up(self, namespace: str, name: str) -> Found:
        """Read an account, once for all callers that wait; return the cached one if the API server does not answer.

        The read is sent after the call: the account may have got its annotation since an earlier read was sent.
        A name that no account can have, and one found missing less than `MISSING_SECONDS` ago, cause no read.
        """
        key = (namespace, name)
        if not is_namespace(namespace) or not is_service_account(name):
            return AccountMissing()
        if key not in self._cached and self._clock() < self._missing.get(key, 0.0):
            return AccountMissing()
        lookup = self._waiting.get(key)
        if lookup is None:
            queue = self._known_queue if key in self._cached else self._unknown_queue
            if queue.length >= CONCURRENT_READS + QUEUE_LIMIT:
                return self._or_cached(key, AccountUnknown("too many service accounts are being looked up"))
            lookup = self._enqueue(queue, key)
        return self._or_cached(key, await asyncio.shield(lookup))  # one caller's cancellation must not end the others'

    def _enqueue(self, queue: _ReadQueue, key: _Key) -> asyncio.Task[Found]:
        def dequeue(_: asyncio.Task[Found]) -> None:
            queue.length -= 1

        queue.length += 1
        lookup = self._waiting[key] = asyncio.ensure_future(self._read_in_turn(queue, key))
        lookup.add_done_callback(dequeue)
        return lookup

    async def _read_in_turn(self, queue: _ReadQueue, key: _Key) -> Found:
        started, was_cached = self._clock(), key in self._cached
        if key in self._reading:
            await asyncio.wait({self._reading[key]})
        async with queue.turn:
            lookup = self._waiting.pop(key)
            account = self.get(*key)
            if account is not None:  # the watch has reported it in the meantime
                return account
            if self._clock() - started > READ_TIMEOUT:
                return AccountUnknown("the lookups before it took too long")
            self._reading[key] = lookup
            try:
                found = await self._read(*key)
            finally:
                del self._reading[key]
        if isinstance(found, AccountMissing):
            if key in self._cached and not was_cached:
                return AccountUnknown("it has just been created")
            self._missing.pop(key, None)
            self._missing[key] = self._clock() + MISSING_SECONDS
            if len(self._missing) > MISSING_LIMIT:
                del self._missing[next(iter(self._missing))]
        return found

    async def _read(self, namespace: str, name: str) -> Found:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        self.reads += 1
        try:
            response = await self._api.request(ApiRequest(path, accept=METADATA), READ_TIMEOUT)
        except ApiUnavailableError as error:
            return AccountUnknown(str(error))
        if response.status == 404:
            return AccountMissing()
        if response.status != 200:
            return AccountUnknown(parse_status(response.status, response.body).message)
        found = parse_object(response.body)
        return AccountUnknown(found.reason) if isinstance(found, Failed) else _account(self.reduced(found))

    def _or_cached(self, key: _Key, found: Found) -> Found:
        if isinstance(found, AccountUnknown) and key in self._cached:
            return self._cached[key] or _account(Metadata(key[1], key[0]))
        return found

    def reduced(self, metadata: Metadata) -> Metadata:
        """Return the name, and the labels and annotations that identities are configured with."""
        return metadata.reduced(PREFIX)

    def replace(self, objects: Iterable[Metadata]) -> None:
        """Cache a whole list."""
        self._cached = {(metadata.namespace, metadata.name): _account_if_annotated(metadata) for metadata in objects}
        self._missing.clear()
        self.synced = True

    def put(self, metadata: Metadata) -> None:
        """Cache one new or changed account."""
        self._cached[metadata.namespace, metadata.name] = _account_if_annotated(self.reduced(metadata))
        self._missing.pop((metadata.namespace, metadata.name), None)

    def delete(self, metadata: Metadata) -> None:
        """Remove one account."""
        self._cached.pop((metadata.namespace, metadata.name), None)


def _account_if_annotated(metadata: Metadata) -> ServiceAccount | None:
    return _account(metadata) if metadata.annotations or metadata.labels else None


def _account(metadata: Metadata) -> ServiceAccount:
    return {
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "annotations": metadata.annotations or {},
            "labels": metadata.labels or {},
        }
    }
