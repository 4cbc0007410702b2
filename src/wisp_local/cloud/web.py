"""What every route shares: the site it belongs to, JSON answers, and one log line a request.

Nothing logs a body, a query or a header, because tokens and assertions travel there.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wisp_local.cloud.entra.audiences import PUBLIC, AzureCloud
from wisp_local.cloud.state.store import Store

Log = Callable[[Mapping[str, object]], None]

UNLOGGED = "wisp.unlogged"  # key of a scope: this request is not worth a line, such as a page that polls for changes
NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}  # RFC 6749 §5.1


@dataclass(frozen=True)
class Site:
    """A cloud as its clients see it: `base_url` (without a slash at its end) and the `aliases` it also answers to.

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


def json_answer(
    document: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
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
    """Return the id of this request in Entra's errors and on the page; it is generated on first use."""
    generated: str = request.scope.setdefault("wisp.trace_id", str(uuid.uuid4()))
    return generated


def note(request: Request, **facts: object) -> None:
    """Add `facts` to the log line of this request; they must not hold a secret."""
    request.scope.setdefault("wisp.facts", {}).update(facts)


class RequestLog:
    """ASGI middleware that gives `log` one record a request."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request and log how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            if not scope.get(UNLOGGED):
                milliseconds = round((time.perf_counter() - start) * 1000, 2)
                request = {"event": "request", "method": scope["method"], "path": scope["path"]}
                self._log({**request, "status": status, "ms": milliseconds, **scope.get("wisp.facts", {})})


def write_line(stream: TextIO, record: Mapping[str, object]) -> None:
    """Write one JSON line; a reader that has gone away must not take the server with it."""
    with contextlib.suppress(OSError):
        stream.write(f"{json.dumps(record)}\n")
        stream.flush()
