"""What every route shares: the site it belongs to, JSON answers, and one log line a request.

Nothing logs a body, a query or a header: tokens and assertions travel there.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wisp_local.cloud.entra.audiences import PUBLIC, AzureCloud
from wisp_local.cloud.state.store import Store

Log = Callable[[Mapping[str, object]], None]
Headers = Mapping[str, str]

UNLOGGED = "wisp.unlogged"  # a scope's mark: this request is no news, such as a page asking whether there is any
NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}  # RFC 6749 §5.1


@dataclass(frozen=True)
class Site:
    """A cloud as its clients see it: `base_url` (no slash at its end) and the `aliases` it also answers to.

    Its resources are those of `azure_cloud`.
    """

    store: Store
    base_url: str
    aliases: Sequence[str] = ()
    azure_cloud: AzureCloud = PUBLIC

    @property
    def base_urls(self) -> frozenset[str]:
        """Every base URL of this cloud."""
        return frozenset((self.base_url, *self.aliases))

    def base_of(self, request: Request) -> str:
        """Return the base URL that the client used, so that the URLs we hand it lead back the same way."""
        asked = f"{request.url.scheme}://{request.headers.get('host', '')}"
        return asked if asked in self.aliases else self.base_url


def json_answer(document: Mapping[str, object], status: int = 200, headers: Headers | None = None) -> Response:
    """Answer with `document`; pure ASCII, as claims may hold characters that UTF-8 cannot carry."""
    media_type = "application/json; charset=utf-8"
    return Response(json.dumps(document), status, {**(headers or {}), "Content-Type": media_type})


async def read_body(request: Request, limit: int) -> bytes | None:
    """Read the body, or return None as soon as it proves longer than `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


def trace_id(request: Request) -> str:
    """Return the id that this request goes by, in Entra's errors and on the page; made on first use."""
    made: str = request.scope.setdefault("wisp.trace_id", str(uuid.uuid4()))
    return made


def note(request: Request, **facts: object) -> None:
    """Add `facts` to the log line of this request; they must not hold a secret."""
    request.scope.setdefault("wisp.facts", {}).update(facts)


class RequestLog:
    """ASGI middleware: one line a request."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request and log how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, statuses = time.perf_counter(), [500]

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses[:] = [message["status"]]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if not scope.get(UNLOGGED):
                self._log(_line(scope, statuses[0], time.perf_counter() - start))


def _line(scope: Scope, status: int, seconds: float) -> dict[str, object]:
    return {
        "event": "request",
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "ms": round(seconds * 1000, 2),
        **scope.get("wisp.facts", {}),
    }
