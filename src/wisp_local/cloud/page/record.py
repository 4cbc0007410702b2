"""The last token requests and their outcomes, in this process's memory and nowhere else.

Recording writes nothing to disk, so that an exchange costs no more and no token outlives the process. Of a request only
what the page shows is recorded; client secrets never are.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import Client, FederatedCredential
from wisp_local.cloud.entra.exchange import ObservedExchange, Token
from wisp_local.cloud.entra.refusals import CERTIFICATE_NOT_REGISTERED, Refused
from wisp_local.cloud.page.explanation import ComparedField, compare_with, nearest
from wisp_local.cloud.page.refusal import Remedy, remedies, summary
from wisp_local.cloud.page.tokens import Decoded, decode
from wisp_local.cloud.state.store import Store

RECORDED = 200  # exchanges
_TEXT = 600  # characters of a tenant, client id or scope
_REFUSAL = 2000  # characters of Entra's text
_ASSERTION = 16 * 1024  # characters; kubelet's tokens have about a thousand


@dataclass(frozen=True)
class Analysis:
    """The decoded `assertion` and `token`, and for a refusal the `nearest` credential and the comparison with it."""

    assertion: Decoded | None
    token: Decoded | None = None
    nearest: FederatedCredential | None = None
    compared: tuple[ComparedField, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    summary: str = ""


@dataclass(frozen=True, eq=False)
class Entry:
    """One token request at `at` (Unix seconds) and its outcome; `trace_id` is in the answer to the client.

    `correlation_id` is the client's own id of the request, empty if it sent none. Of a refusal, `client` is the one
    that asked, if it exists, and `credentials` those that it had then.
    """

    trace_id: str
    correlation_id: str
    at: float
    tenant: str
    client_id: str
    scope: str
    assertion: Secret
    outcome: Token | Refused
    client: Client | None = None
    credentials: Sequence[FederatedCredential] = ()

    @cached_property
    def analysis(self) -> Analysis:
        """What the exchange itself tells, without the state of the cloud."""
        decoded = decode(self.assertion.reveal())
        if isinstance(self.outcome, Token):
            return Analysis(decoded, token=decode(self.outcome.access_token.reveal()))
        if decoded is None or self.client is None or self.outcome.code == CERTIFICATE_NOT_REGISTERED:
            return Analysis(decoded, summary=summary(self.outcome, ()))
        credential = nearest(decoded.presented, self.credentials)
        compared = () if credential is None else compare_with(decoded.presented, credential)
        found: tuple[Remedy, ...] = ()
        if credential is None or not all(field.matches for field in compared):
            found = remedies(decoded.presented, self.client, self.credentials, credential)
        return Analysis(decoded, None, credential, compared, found, summary(self.outcome, compared))


class Record:
    """The newest `limit` entries, timed by `store`'s clock; any thread may add."""

    def __init__(self, store: Store, limit: int = RECORDED) -> None:
        self._store = store
        self.limit = limit
        self._entries: deque[Entry] = deque(maxlen=limit)
        self._lock = threading.Lock()

    def __call__(self, exchange: ObservedExchange) -> None:
        """Record one exchange."""
        form, outcome = dict(exchange.form), exchange.outcome
        client_id, assertion = form.get("client_id", ""), form.get("client_assertion", "")
        client = self._store.client(client_id) if client_id and isinstance(outcome, Refused) else None
        if isinstance(outcome, Refused):
            outcome = replace(outcome, text=outcome.text[:_REFUSAL])  # it repeats what the client sent
        entry = Entry(
            exchange.trace_id,
            exchange.correlation_id,
            self._store.clock(),
            exchange.tenant[:_TEXT],
            client_id[:_TEXT],
            form.get("scope", "")[:_TEXT],
            Secret(assertion if len(assertion) <= _ASSERTION else ""),
            outcome,
            client,
            () if client is None else tuple(self._store.federated_credentials(client)),
        )
        with self._lock:
            self._entries.appendleft(entry)

    def newest(self) -> tuple[Entry, ...]:
        """Return all entries, the newest first."""
        with self._lock:
            return tuple(self._entries)

    def find(self, identifier: str) -> Entry | None:
        """Return the newest entry with that trace or correlation id, which is not empty."""
        found = (entry for entry in self.newest() if identifier in (entry.trace_id, entry.correlation_id))
        return next(found, None)

    def after(self, trace_id: str) -> tuple[Entry, ...] | None:
        """Return the entries after the one with that trace id ("": all), the newest first; None if it is unknown."""
        entries = self.newest()
        index = next((index for index, entry in enumerate(entries) if entry.trace_id == trace_id), None)
        if index is None:
            return entries if not trace_id else None
        return entries[:index]
