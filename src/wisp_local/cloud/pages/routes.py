"""The page's routes; the templates are filled in a thread, so that no exchange waits for somebody's looking."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from wisp_local.cloud.entra.exchange import Token
from wisp_local.cloud.pages.detail import detail, may_show_token
from wisp_local.cloud.pages.guard import Guard, Seal, host_of, is_from_page, is_this_machine
from wisp_local.cloud.pages.record import Entry, Record
from wisp_local.cloud.pages.rendering import environment, render
from wisp_local.cloud.pages.views import Told, Views
from wisp_local.cloud.web import UNLOGGED, Site, read_body

_STATIC = Path(__file__).parent / "static"
_FILES = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}
_FORM_LIMIT = 1024  # bytes


class Pages:
    """The page of the cloud at `site`, whose exchanges are in `record`; on other addresses there may be none."""

    def __init__(self, site: Site, record: Record, *, on_loopback_only: bool = False) -> None:
        self._site = site
        self._record = record
        self._views = Views(site, record)
        self._seal = Seal()
        self._on_loopback_only = on_loopback_only
        self._hosts = frozenset(host_of(urlsplit(each).netloc) for each in site.base_urls)
        self._templates = environment()

    def routes(self) -> list[Route]:
        """Return the routes, each behind the guard."""
        route = partial(Route, middleware=[self._guard()])
        return [
            route("/", self.overview),
            route("/exchanges", self.exchanges),
            route("/exchanges/news", self.news),
            route("/exchanges/{trace_id}", self.exchange),
            route("/exchanges/{trace_id}", self.reveal, methods=["POST"]),
            route("/page/{name}", _static),
        ]

    def _guard(self) -> Middleware:
        return Middleware(Guard, hosts=self._hosts, on_loopback_only=self._on_loopback_only)

    async def overview(self, request: Request) -> Response:
        """Answer the front page."""
        query = request.query_params
        number = query.get("page", "1")
        page = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 1
        return await self._page("overview.html", lambda: self._views.overview(query.get("identity", ""), page))

    async def exchanges(self, request: Request) -> Response:  # noqa: ARG002 -- a handler's signature
        """Answer the whole list of exchanges."""
        return await self._page("exchanges.html", self._views.exchanges)

    async def news(self, request: Request) -> Response:
        """Answer the list's new lines, 204 when there is none, 205 when the browser's list is another server's."""
        request.scope[UNLOGGED] = True
        after = request.query_params.get("after", "")
        newest = self._record.newest()
        if (newest[0].trace_id if newest else "") == after:
            return Response(status_code=204)
        told = await run_in_threadpool(self._views.news, after)
        return Response(status_code=205) if told is None else self._html("lines.html", told)

    async def exchange(self, request: Request) -> Response:
        """Answer one exchange, decoded."""
        entry = self._record.find(request.path_params["trace_id"])
        return self._missing() if entry is None else await self._detail(entry)

    async def reveal(self, request: Request) -> Response:
        """Answer one exchange with its token: to our own form, on this machine."""
        entry = self._record.find(request.path_params["trace_id"])
        if entry is None or not isinstance(entry.outcome, Token):
            return self._missing()
        if request.client is None or not is_this_machine(request.client.host):
            return PlainTextResponse("Tokens are shown only to a browser on the cloud's own machine.\n", 403)
        body = await read_body(request, _FORM_LIMIT) or b""
        mark = parse_qs(body.decode("latin-1")).get("mark", [""])[0]
        if not is_from_page(request.headers, self._hosts) or not self._seal.fits(entry.trace_id, mark):
            return PlainTextResponse("Open the exchange's page, and ask for the token there.\n", 403)
        if not await run_in_threadpool(may_show_token, self._site, entry):
            return PlainTextResponse("Tokens of principals with a role assignment are not shown.\n", 403)
        return await self._detail(entry, revealed=entry.outcome.access_token.reveal().split("."))

    async def _detail(self, entry: Entry, revealed: list[str] | None = None) -> Response:
        extra = {"revealed": revealed, "mark": self._seal.of(entry.trace_id)}
        return await self._page("exchange.html", lambda: {**self._views.cloud(), **detail(self._site, entry), **extra})

    def _missing(self) -> Response:
        return self._html("missing.html", self._views.cloud(), 404)

    async def _page(self, name: str, tell: Callable[[], Told]) -> Response:
        return HTMLResponse(await run_in_threadpool(lambda: render(self._templates, name, tell())))

    def _html(self, name: str, told: Mapping[str, object], status: int = 200) -> Response:
        return HTMLResponse(render(self._templates, name, told), status)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        return PlainTextResponse("There is no such file.\n", 404)
    return Response((_STATIC / name).read_bytes(), media_type=_FILES[name])
