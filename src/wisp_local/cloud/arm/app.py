"""Resource Manager over HTTP: admits the caller, finds the handler, and puts Azure's headers on the answer."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from joserfc import jws
from joserfc.errors import JoseError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from wisp.base.secret import Secret
from wisp_local.cloud.arm import bindings, catalogue, clusters, identities, operations, resources, roles
from wisp_local.cloud.arm.bearer import Caller, ReadToken, UnreadableToken, admit
from wisp_local.cloud.arm.handler import OPERATION_SECONDS, Call, Handler, Reply, WriteLocks
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.arm.reading import read_json
from wisp_local.cloud.entra.audiences import MICROSOFT_GRAPH, RESOURCE_MANAGER, services
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError, StateError
from wisp_local.cloud.issuer import verifies
from wisp_local.cloud.web import Site, json_answer, note, read_body

BODY_LIMIT = 4 * 1024 * 1024  # bytes; Resource Manager's own
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[A-Za-z0-9.-]{1,20})?")


class _AnyCaseRoute(Route):
    """Match a path in any case, and after more than one slash: some clients append to a base URL that ends in one."""

    def __init__(self, path: str, endpoint: object, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)  # type: ignore[arg-type]  # Starlette wants Callable[..., Any]
        self.path_regex = re.compile(self.path_regex.pattern.replace("^/", "^/+", 1), re.IGNORECASE)


def _routes(handlers: Mapping[str, Handler]) -> list[_AnyCaseRoute]:
    """Return a route for each handler, by `METHOD /path/{name}`."""
    pairs = [(key.split(" ", 1), handler) for key, handler in handlers.items()]
    return [_AnyCaseRoute(path, handler, [method]) for (method, path), handler in pairs]


_RESOURCE_ROUTES = _routes(
    {
        **catalogue.ROUTES,
        **resources.ROUTES,
        **identities.ROUTES,
        **clusters.ROUTES,
        **bindings.ROUTES,
        **operations.ROUTES,
        **roles.ROUTES,
    }
)
_GRAPH_ROUTES = _routes(roles.GRAPH_ROUTES)


@dataclass(frozen=True)
class ResourceManager:
    """Resource Manager on `site`, and the part of Microsoft Graph that `az` needs with it."""

    site: Site
    operation_seconds: float = OPERATION_SECONDS
    locks: WriteLocks = field(default_factory=WriteLocks)

    def routes(self) -> list[Route]:
        """Return the routes for the cloud's application."""
        roots = ("/subscriptions", "/tenants", "/providers")
        return [
            _AnyCaseRoute("/metadata/endpoints", self.endpoints, ["GET"]),
            *(_AnyCaseRoute(root, self.resources, _METHODS) for root in roots),
            *(_AnyCaseRoute(f"{root}/{{rest:path}}", self.resources, _METHODS) for root in roots),
            _AnyCaseRoute("/v1.0/{rest:path}", self.graph, _METHODS),
        ]

    async def endpoints(self, request: Request) -> Response:
        """Answer `az cloud register`, which has no token yet."""
        site = self.site
        return json_answer(catalogue.endpoints(site.base_of(request), site.store.tenant().id, site.azure_cloud))

    async def resources(self, request: Request) -> Response:
        """Answer a request for a resource."""
        return await self._answer(request, _RESOURCE_ROUTES, RESOURCE_MANAGER)

    async def graph(self, request: Request) -> Response:
        """Answer a request to Microsoft Graph, which has no api-version."""
        return await self._answer(request, _GRAPH_ROUTES, MICROSOFT_GRAPH)

    async def _answer(self, request: Request, routes: Sequence[Route], service: str) -> Response:
        headers = {
            "x-ms-request-id": str(uuid.uuid4()),
            "x-ms-correlation-request-id": _correlation_id(request),
            "Cache-Control": "no-cache",
        }
        body = await read_body(request, BODY_LIMIT)
        try:
            reply = await run_in_threadpool(self._handle, request, routes, service, body)
        except ResourceError as error:
            note(request, outcome="refused", code=error.code)
            headers |= self._challenge(request, error) if error.status == 401 else {}
            reply = Reply(error.status, error.document())
        headers |= reply.headers
        if reply.document is None:
            return Response(status_code=reply.status, headers=headers)
        return json_answer(reply.document, reply.status, headers)

    def _handle(self, request: Request, routes: Sequence[Route], service: str, body: bytes | None) -> Reply:
        """Answer the request in a thread; callers without a good token learn nothing about resources."""
        if body is None:
            raise ResourceError(413, "RequestContentTooLarge", f"The body is longer than {BODY_LIMIT} bytes.")
        caller = self._caller(request, service)
        path = request.scope.get("raw_path", b"").decode("ascii", "replace")
        query = {name.lower(): value for name, value in request.query_params.items()}
        handler, names = _find(routes, request.method, path)
        if service == RESOURCE_MANAGER:
            self._check(names.get("subscription"), query.get("api-version"))
        base, document = self.site.base_of(request), read_json(body)
        call = Call(self.site.store, base, path, names, query, document, caller, self.locks, self.operation_seconds)
        try:
            reply = handler(call)
        except StateError:
            raise
        except NotFoundError as error:
            raise ResourceError(404, "ResourceNotFound", f"{error}.") from error
        except ConflictError as error:
            raise ResourceError(409, "Conflict", f"{error}.") from error
        except RequestError as error:
            raise ResourceError(400, "BadRequest", f"{error}.") from error
        return Reply(204) if request.method == "HEAD" and reply.status == 200 else reply

    def _check(self, subscription: str | None, version: str | None) -> None:
        if subscription is not None and subscription.lower() != self.site.store.subscription().id:
            message = f"The subscription '{subscription:.80}' could not be found."
            raise ResourceError(404, "SubscriptionNotFound", message)
        if not version:
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise ResourceError(400, "MissingApiVersionParameter", message)
        if _VERSION.fullmatch(version) is None:
            message = f"The api-version '{version:.40}' is invalid. The api-version is a date, such as 2024-11-01."
            raise ResourceError(400, "InvalidApiVersionParameter", message)

    def _caller(self, request: Request, service: str) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        store = self.site.store
        return admit(
            self._read(Secret(token.strip())) if scheme.lower() == "bearer" else None,
            tenant=store.tenant().id,
            audiences=(*reversed(services()[service].names[self.site.azure_cloud].uris), *self.site.base_urls),
            now=store.clock(),
        )

    def _read(self, token: Secret) -> ReadToken | UnreadableToken:
        try:
            claims = json.loads(jws.extract_compact(token.reveal().encode()).payload)
        except (JoseError, ValueError, RecursionError):
            return UnreadableToken()
        if not isinstance(claims, dict):
            return UnreadableToken()
        keys = self.site.store.issuers.token_keys()
        return ReadToken(claims, verified=any(verifies(token, key.public) for key in keys))

    def _challenge(self, request: Request, error: ResourceError) -> dict[str, str]:
        """Return the header that says which authority issues good tokens (RFC 6750 §3)."""
        authority = f"{self.site.base_of(request)}/{self.site.store.tenant().id}"
        description = error.message.encode("ascii", "replace").decode().replace('"', "'")
        value = f'Bearer authorization_uri="{authority}", error="invalid_token", error_description="{description}"'
        return {"WWW-Authenticate": value}


def _find(routes: Sequence[Route], method: str, path: str) -> tuple[Handler, dict[str, str]]:
    """Return the handler for `path`, which is still escaped, and the names in it.

    Routes match escaped segments, so that an escaped slash is part of a name. Starlette answers HEAD where GET is.
    """
    segments = (quote(unquote(segment), safe="") for segment in path.strip("/").split("/"))
    scope = {"type": "http", "method": method, "path": "/" + "/".join(segments)}
    known = False
    for route in routes:
        match, found = route.matches(scope)
        if match is Match.FULL:
            return found["endpoint"], {name: unquote(value) for name, value in found["path_params"].items()}
        known = known or match is Match.PARTIAL
    if known:
        message = f"The method '{method}' cannot be used on '{path:.400}'."
        raise ResourceError(405, "MethodNotAllowed", message)
    message = (
        f"This local cloud does not have the resource type of '{path:.400}'. It has resource groups, user-assigned "
        "identities with federated credentials, managed clusters with identity bindings, and role assignments."
    )
    raise ResourceError(404, "InvalidResourceType", message)


def _correlation_id(request: Request) -> str:
    for name in ("x-ms-correlation-request-id", "x-ms-client-request-id"):
        try:
            return str(uuid.UUID(request.headers.get(name, "")))
        except ValueError:
            continue
    return str(uuid.uuid4())
