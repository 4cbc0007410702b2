"""The last token requests and what became of them, in this process's memory and nowhere else.

Recording writes nothing to disk, so that an exchange costs what it did, and no token outlives the process. It keeps of
a request only what the page shows; a client secret is never among it.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import Client, FederatedCredential
from wisp_local.cloud.entra.exchange import ObservedExchange, Token
from wisp_local.cloud.entra.refusals import Refused
from wisp_local.cloud.pages.examined import Examined, examine
from wisp_local.cloud.state.store import Store

KEPT = 200  # exchanges
_TEXT = 600  # characters of a tenant, client id or scope
_REFUSAL = 2000  # characters of Entra's text
_ASSERTION = 16 * 1024  # characters; kubelet's tokens have about a thousand


@dataclass(frozen=True, eq=False)
class Entry:
    """One token request at `at` (Unix seconds) and its outcome; `trace_id` is the one that the client was told.

    Of a refusal, `client` and `credentials` are who asked, if anybody, and whom that trusted then.
    """

    trace_id: str
    at: float
    tenant: str
    client_id: str
    scope: str
    assertion: Secret
    outcome: Token | Refused
    client: Client | None = None
    credentials: Sequence[FederatedCredential] = field(default=())

    @cached_property
    def examined(self) -> Examined:
        """What can be said about it from within."""
        answer = self.outcome.access_token if isinstance(self.outcome, Token) else self.outcome
        return examine(self.assertion.reveal(), answer, self.client, self.credentials)


class Record:
    """The newest `kept` entries, timed by `store`'s clock; any thread may add."""

    def __init__(self, store: Store, kept: int = KEPT) -> None:
        self._store = store
        self.kept = kept
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._lock = threading.Lock()

    def __call__(self, observed: ObservedExchange) -> None:
        """Take note of one exchange."""
        entry = self._entry(observed)
        with self._lock:
            self._entries.appendleft(entry)

    def newest(self) -> tuple[Entry, ...]:
        """Return what is kept, the newest first."""
        with self._lock:
            return tuple(self._entries)

    def find(self, trace_id: str) -> Entry | None:
        """Return the entry with that trace id."""
        return next((each for each in self.newest() if each.trace_id == trace_id), None)

    def after(self, trace_id: str) -> tuple[Entry, ...] | None:
        """Return what came after the entry with that trace id ("": all), the newest first; None if it is unknown."""
        entries = self.newest()
        place = next((index for index, each in enumerate(entries) if each.trace_id == trace_id), None)
        if place is None:
            return entries if not trace_id else None
        return entries[:place]

    def _entry(self, observed: ObservedExchange) -> Entry:
        client_id, scope, assertion = _shown(observed.form)
        client = self._client(client_id) if isinstance(observed.outcome, Refused) else None
        return Entry(
            observed.trace_id,
            self._store.clock(),
            observed.tenant[:_TEXT],
            client_id[:_TEXT],
            scope[:_TEXT],
            Secret(assertion if len(assertion) <= _ASSERTION else ""),
            _brief(observed.outcome),
            client,
            () if client is None else tuple(self._store.federated_credentials(client)),
        )

    def _client(self, client_id: str) -> Client | None:
        return self._store.client(client_id) if client_id else None


def _brief(outcome: Token | Refused) -> Token | Refused:
    """Keep a refusal short: its text repeats what the client sent."""
    return outcome if isinstance(outcome, Token) else replace(outcome, text=outcome.text[:_REFUSAL])


def _shown(form: Iterable[tuple[str, str]]) -> tuple[str, str, str]:
    fields = dict(form)
    return tuple(fields.get(name, "") for name in ("client_id", "scope", "client_assertion"))  # type: ignore[return-value]
