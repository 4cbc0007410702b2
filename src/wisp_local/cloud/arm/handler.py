"""One request to Resource Manager as handlers see it, their answer, and what they share: roles and write locks."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from wisp_local.cloud.arm.bearer import Caller
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.arm.reading import Item, page
from wisp_local.cloud.roles import is_allowed
from wisp_local.cloud.state.store import Store

OPERATION_SECONDS = 1.0  # how long a cluster takes to be created, updated or deleted
WRITE_SECONDS = 0.1  # how long a federated credential takes to be written


class WriteLocks:
    """One write of federated credentials at a time for each identity, as on Azure.

    A write holds the identity for `seconds`, as on Azure. Without the delay writes would never meet here, and clients
    that write in parallel would fail only on Azure.
    """

    def __init__(self, seconds: float = 0, sleep: Callable[[float], object] = time.sleep) -> None:
        self._seconds = seconds
        self._sleep = sleep
        self._held: set[str] = set()
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def hold(self, resource_id: str) -> Generator[None]:
        """Hold `resource_id` for the block; raises `ResourceError` (409) when another request holds it."""
        key = resource_id.lower()
        with self._guard:
            if key in self._held:
                message = (
                    f"Too many Federated Identity Credentials are written concurrently for the managed identity '{key}'"
                    ". Concurrent Federated Identity Credentials writes under the same managed identity are not "
                    "supported."
                )
                code = "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity"
                raise ResourceError(409, code, message)
            self._held.add(key)
        try:
            if self._seconds:
                self._sleep(self._seconds)
            yield
        finally:
            with self._guard:
                self._held.discard(key)


@dataclass(frozen=True)
class Call:
    """An authenticated request: `names` are the parameters of its path, `base` is the URL that the client used.

    `operation_seconds` is how long a long-running operation takes.
    """

    store: Store
    base: str
    path: str
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, object]
    caller: Caller
    locks: WriteLocks
    operation_seconds: float

    @property
    def now(self) -> float:
        """The time, in Unix seconds."""
        return self.store.clock()

    def page(self, items: list[Item]) -> "Reply":
        """Answer with the page of `items` that the query asks for."""
        return Reply(200, page(items, self.query, self.base + self.path))


@dataclass(frozen=True)
class Reply:
    """The answer; without a document its body is empty."""

    status: int
    document: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Reply]


def requires(action: str, handler: Handler) -> Handler:
    """Return `handler` for callers with a role assignment that allows `action` on the resource of the path.

    As on Azure, the role is checked before the answer depends on whether the resource exists.
    """

    def checked(call: Call) -> Reply:
        segments = [unquote(segment) for segment in call.path.strip("/").split("/")]
        if action.endswith("/action"):
            segments.pop()  # the name of the action
        scope, caller = "/" + "/".join(segments), call.caller
        if not is_allowed(call.store.assignments.all(), caller.principal_id, action, scope):
            message = (
                f"The client '{caller.client_id:.80}' with object id '{caller.principal_id:.80}' does not have "
                f"authorization to perform action '{action}' over scope '{scope:.400}' or the scope is invalid. If "
                "access was recently granted, please refresh your credentials."
            )
            raise ResourceError(403, "AuthorizationFailed", message)
        return handler(call)

    return checked
