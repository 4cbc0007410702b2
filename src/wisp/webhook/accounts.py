"""Service accounts at hand: what a watch says of them, and the API server itself where that is not enough.

Of an account only its name and the annotations and labels of `PREFIX` are held; it is given as the object it is of.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote

from wisp.webhook.api import Ask, Reply, UnansweredError
from wisp.webhook.objects import METADATA, Failed, Metadata, item_of, slim, status_of
from wisp.webhook.watching import Kind

PREFIX = "azure.workload.identity/"
CLIENT_ID = PREFIX + "client-id"
ACCOUNTS = Kind("serviceaccounts", "/api/v1/serviceaccounts")

PATIENCE = 3.0
"""Seconds that the API server has for one account: an admission webhook has 10 in all, and may be given fewer."""


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


class Accounts:
    """A cache that a watcher fills; `get` does not wait, `look_up` does."""

    def __init__(self, api: Asker) -> None:
        self._api = api
        self._held: dict[tuple[str, str], Account | None] = {}
        """None: an account that says nothing of identities, which is most of them."""
        self._flights: dict[tuple[str, str], asyncio.Task[Found]] = {}
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
        """Ask the API server, once however many wait; where it does not answer, say what is known."""
        key = (namespace, name)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.ensure_future(self._read(namespace, name))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        found = await asyncio.shield(flight)  # whoever hangs up, the others still want it
        if isinstance(found, Unknown) and key in self._held:
            return self._held[key] or _account(Metadata(name, namespace))
        return found

    async def _read(self, namespace: str, name: str) -> Found:
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/serviceaccounts/{quote(name, safe='')}"
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
        self.synced = True

    def put(self, metadata: Metadata) -> None:
        """Take one new or changed account."""
        self._held[metadata.namespace, metadata.name] = _worth(slim(metadata, PREFIX))

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
