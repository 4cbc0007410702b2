"""Call an ASGI application without a socket, one event loop for a whole test."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from starlette.types import ASGIApp, Message

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    """What the application sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)

    @property
    def code(self) -> int:
        """Return the one AADSTS code of a refusal."""
        (code,) = self.json()["error_codes"]
        assert isinstance(code, int)
        return code


class Client:
    """A client of `app`; `host` is what it sends as Host."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.close()

    def get(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """Send a request without a body."""
        return self.send(method, target, b"", headers)

    def post(self, target: str, form: Mapping[str, str] | Iterable[tuple[str, str]], **headers: str) -> Answer:
        """Send a form."""
        pairs = form.items() if isinstance(form, Mapping) else form
        return self.send("POST", target, urlencode(list(pairs)).encode(), {"content-type": FORM, **headers})

    def send(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send `body` in one piece and return the answer."""
        return self._runner.run(self._send(method, target, body, {"host": self._host, **headers}))

    async def _send(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(target)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "https",
            "method": method,
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        start, *rest = sent
        names = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], names, b"".join(message.get("body", b"") for message in rest))
