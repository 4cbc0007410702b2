"""The page's routes. Templates are filled in a thread, so that no token exchange waits for the page."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from wisp_local.cloud.entra.exchange import Token
from wisp_local.cloud.page.callers import CallerLookupError, find_callers
from wisp_local.cloud.page.guard import FormMarks, Guard, host_of, is_from_page, is_this_machine
from wisp_local.cloud.page.record import Entry, Record
from wisp_local.cloud.page.views import Context, Views, templates
from wisp_local.cloud.web import UNLOGGED, Site, read_body

_STATIC = Path(__file__).parent / "static"
_FILES = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}
_FORM_LIMIT = 1024  # bytes


class Page:
    """The page of the cloud at `site`, whose exchanges are in `record`.

    With `on_loopback_only` there is no page on connections that came in at another address.
    """

    def __init__(self, site: Site, record: Record, *, on_loopback_only: bool = False) -> None:
        self._record = record
        self._views = Views(site, record)
        self._marks = FormMarks()
        self._lookup = asyncio.Semaphore(1)  # one look into a cluster's logs at a time: it takes megabytes
        self._on_loopback_only = on_loopback_only
        self._hosts = frozenset(host_of(urlsplit(url).netloc) for url in site.base_urls)

    def routes(self) -> list[Route]:
        """Return the routes, each behind the guard."""
        guard = Middleware(Guard, hosts=self._hosts, on_loopback_only=self._on_loopback_only)
        route = partial(Route, middleware=[guard])
        return [
            route("/", self.overview),
            route("/exchanges", self.exchanges),
            route("/exchanges/news", self.news),
            route("/exchanges/{trace_id}", self.exchange),
            route("/exchanges/{trace_id}", self.reveal, methods=["POST"]),
            route("/exchanges/{trace_id}/callers", self.callers, methods=["POST"]),
            route("/page/{name}", _static),
        ]

    async def overview(self, request: Request) -> Response:
        """Answer the front page."""
        query = request.query_params
        number = query.get("page", "1")
        page = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 1
        return await _html("overview.html", lambda: self._views.overview(query.get("identity", ""), page))

    async def exchanges(self, request: Request) -> Response:  # noqa: ARG002 -- a handler's signature
        """Answer the list of all exchanges."""
        return await _html("exchanges.html", self._views.exchanges)

    async def news(self, request: Request) -> Response:
        """Answer the new rows of the list: 204 without any, 205 when the browser's list is another server's."""
        request.scope[UNLOGGED] = True
        after = request.query_params.get("after", "")
        newest = self._record.newest()
        if (newest[0].trace_id if newest else "") == after:
            return Response(status_code=204)
        context = await run_in_threadpool(self._views.news, after)
        return Response(status_code=205) if context is None else await _html("rows.html", lambda: context)

    async def exchange(self, request: Request) -> Response:
        """Answer one exchange, decoded."""
        entry = self._record.find(request.path_params["trace_id"])
        return await self._missing() if entry is None else await self._exchange(entry)

    async def reveal(self, request: Request) -> Response:
        """Answer one exchange with its token, for a form of this page, sent from this machine."""
        entry = self._record.find(request.path_params["trace_id"])
        if entry is None or not isinstance(entry.outcome, Token):
            return await self._missing()
        refusal = await self._refuse_form(request, entry)
        if refusal:
            return PlainTextResponse(refusal, 403)
        if not await run_in_threadpool(self._views.may_show_token, entry):
            return PlainTextResponse("Tokens of principals with a role assignment are not shown.\n", 403)
        return await self._exchange(entry, revealed=entry.outcome.access_token.reveal().split("."))

    async def callers(self, request: Request) -> Response:
        """Answer one exchange of a token gateway with the workload that it was for, for a form as above."""
        entry = self._record.find(request.path_params["trace_id"])
        exchange = None if entry is None else await run_in_threadpool(self._views.gateway_exchange, entry)
        if entry is None or exchange is None:
            return await self._missing()
        refusal = await self._refuse_form(request, entry)
        if refusal:
            return PlainTextResponse(refusal, 403)
        kubeconfig = await run_in_threadpool(self._views.kubeconfig, entry)
        if not kubeconfig:
            return PlainTextResponse("No API server is attached whose gateway this is.\n", 404)
        try:
            async with self._lookup:
                found = await run_in_threadpool(find_callers, kubeconfig, exchange)
        except CallerLookupError as error:
            return await self._exchange(entry, caller_problem=str(error))
        return await self._exchange(entry, callers=found)

    async def _refuse_form(self, request: Request, entry: Entry) -> str:
        """Return why a form is not one of this page, sent from this machine, about the exchange; empty if it is."""
        if request.client is None or not is_this_machine(request.client.host):
            return "This is shown only to a browser on the cloud's own machine.\n"
        body = await read_body(request, _FORM_LIMIT) or b""
        mark = parse_qs(body.decode("latin-1")).get("mark", [""])[0]
        if not is_from_page(request.headers, self._hosts) or not self._marks.is_valid(entry.trace_id, mark):
            return "Open the exchange's page, and use the button there.\n"
        return ""

    async def _exchange(self, entry: Entry, **extra: object) -> Response:
        extras = {"revealed": None, "callers": None, "caller_problem": "", "mark": self._marks.mark(entry.trace_id)}
        return await _html("exchange.html", lambda: {**self._views.exchange(entry), **extras, **extra})

    async def _missing(self) -> Response:
        return await _html("missing.html", self._views.cloud, 404)


async def _html(name: str, context: Callable[[], Context], status: int = 200) -> Response:
    html = await run_in_threadpool(lambda: templates().get_template(name).render(context()))
    return HTMLResponse(html, status)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        return PlainTextResponse("There is no such file.\n", 404)
    return Response((_STATIC / name).read_bytes(), media_type=_FILES[name])
