"""The HTTP application: the routes of Entra, of Resource Manager, of the issuers and of the page."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wisp.base.errors import WispError
from wisp_local.cloud.arm.app import ResourceManager
from wisp_local.cloud.arm.handler import OPERATION_SECONDS, WriteLocks
from wisp_local.cloud.entra.audiences import PUBLIC, AzureCloud
from wisp_local.cloud.entra.claims import DEFAULT_LIFETIME
from wisp_local.cloud.entra.endpoints import Endpoints
from wisp_local.cloud.entra.exchange import Exchange, ObservedExchange
from wisp_local.cloud.issuer import KEYS_PATH, Issuer, discovery, key_set
from wisp_local.cloud.issuer_keys import KeySource, UnreachableIssuers
from wisp_local.cloud.state.store import Store
from wisp_local.cloud.web import Log, RequestLog, Site, json_answer, note

_PUBLIC = {"Cache-Control": "public, max-age=3600"}  # as the API server answers


@dataclass(frozen=True)
class Options:
    """The options of a cloud, apart from its store and URL.

    `aliases` are further base URLs; `elsewhere` finds the keys of issuers that are not this cloud's own;
    `lifetime` is that of access tokens in seconds; `log` takes one record a request; long-running operations of
    Resource Manager take `operation_seconds`, a federated credential `write_seconds` to be written and `propagation`
    seconds until it is known; `page` serves the web page, `page_on_loopback_only` only to connections that arrive
    there; tokens can be requested for the services of `azure_cloud`.
    """

    aliases: Sequence[str] = ()
    elsewhere: KeySource = field(default_factory=UnreachableIssuers)
    lifetime: int = DEFAULT_LIFETIME
    log: Log | None = None
    operation_seconds: float = OPERATION_SECONDS
    write_seconds: float = 0
    propagation: float = 0
    page: bool = False
    page_on_loopback_only: bool = False
    azure_cloud: AzureCloud = PUBLIC


def create_app(store: Store, base_url: str, options: Options | None = None) -> Starlette:
    """Return the ASGI application of the cloud in `store`, reached at `base_url` (`https://HOST:PORT`)."""
    options = options or Options()
    site = Site(store, base_url.rstrip("/"), tuple(options.aliases), options.azure_cloud)
    issuers = _Issuers(site)
    record, page = _page(site, options) if options.page else (None, [])
    exchange = Exchange(site, options.elsewhere, options.lifetime, options.propagation)
    routes = [
        Route("/healthz", _healthy),
        Route("/oidc/{issuer}/.well-known/openid-configuration", issuers.discovery),
        Route(f"/oidc/{{issuer}}/{KEYS_PATH}", issuers.keys),
        *ResourceManager(site, options.operation_seconds, WriteLocks(options.write_seconds)).routes(),
        *Endpoints(site, exchange, record).routes(),
        *page,
    ]
    return Starlette(
        routes=routes,
        middleware=[] if options.log is None else [Middleware(RequestLog, log=options.log)],
        exception_handlers={HTTPException: _http_error, WispError: _state_error},
    )


def _page(site: Site, options: Options) -> tuple[Callable[[ObservedExchange], None], list[Route]]:
    """Return the page's record of exchanges and its routes."""
    from wisp_local.cloud.page.app import Page  # noqa: PLC0415 -- a cloud without a page loads no templates
    from wisp_local.cloud.page.record import Record  # noqa: PLC0415 -- as above

    record = Record(site.store)
    return record, Page(site, record, on_loopback_only=options.page_on_loopback_only).routes()


@dataclass(frozen=True)
class _Issuers:
    """The published documents of the clusters' issuers, which are found by id."""

    site: Site

    async def discovery(self, request: Request) -> Response:
        """Answer the discovery document, under the base URL that the client used."""
        return json_answer(discovery(self.site.base_of(request) + self._issuer(request).path), headers=_PUBLIC)

    async def keys(self, request: Request) -> Response:
        """Answer the key set."""
        issuer = self._issuer(request)
        attached = self.site.store.issuers.attached_keys(path=issuer.path, name=issuer.name)
        return json_answer(key_set(issuer) if attached is None else json.loads(attached), headers=_PUBLIC)

    def _issuer(self, request: Request) -> Issuer:
        issuer = self.site.store.issuers.get(request.path_params["issuer"])
        if issuer is None:
            raise HTTPException(404)
        return issuer


async def _healthy(request: Request) -> Response:  # noqa: ARG001 -- a handler's signature
    return json_answer({"status": "ok"})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- what it is registered for
    problem = {"error": error.detail, "path": request.url.path}
    return json_answer(problem, error.status_code, error.headers)


async def _state_error(request: Request, error: Exception) -> Response:
    """Answer for a state file that became unusable under a running server, without telling clients why."""
    note(request, problem=str(error))
    return json_answer({"error": "temporarily_unavailable"}, 503, {"Retry-After": "1"})
