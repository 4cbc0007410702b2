"""One request to Resource Manager and its answer, as values: what the modules that do something pass around."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wisp_local.cloud.arm.paging import Item, page
from wisp_local.cloud.arm.writing import OneAtATime
from wisp_local.cloud.state.store import Store

OPERATION_SECONDS = 1.0  # how long a cluster takes to be created, updated or deleted


@dataclass(frozen=True)
class Call:
    """A request whose token was good: `names` are those in its path, `base` the URL the client came by.

    `operation_seconds` is how long a long-running operation takes; `writing` holds the identities being written to.
    """

    store: Store
    base: str
    path: str
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, object]
    client_id: str
    principal_id: str
    writing: OneAtATime
    operation_seconds: float = OPERATION_SECONDS

    @property
    def now(self) -> float:
        """The time, in Unix seconds."""
        return self.store.clock()

    def page(self, items: list[Item]) -> "Reply":
        """Answer with the page of `items` that was asked for."""
        return Reply(200, page(items, self.query, self.base + self.path))


@dataclass(frozen=True)
class Reply:
    """What to answer; no document means an empty body."""

    status: int
    document: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Reply]
