"""Resource Manager over HTTP: who calls, what is asked, and Azure's headers around the answer."""

import json
import re
import uuid
from dataclasses import dataclass, field

from joserfc import jws
from joserfc.errors import JoseError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wisp.base.secret import Secret
from wisp_local.cloud.arm import (
    catalogue,
    clusters,
    federated,
    graph,
    groups,
    identities,
    operations,
    problem,
    resources,
    roles,
)
from wisp_local.cloud.arm.bearer import Caller, Presented, Unreadable, admit
from wisp_local.cloud.arm.call import OPERATION_SECONDS, Call, Handler, Reply
from wisp_local.cloud.arm.metadata import endpoints
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.arm.reading import read_json
from wisp_local.cloud.arm.routing import Found, Table, Unknown, WrongMethod
from wisp_local.cloud.arm.writing import OneAtATime
from wisp_local.cloud.entra.audiences import MICROSOFT_GRAPH, RESOURCE_MANAGER, Service
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError, StateError
from wisp_local.cloud.issuer import verifies
from wisp_local.cloud.web import Site, json_answer, note, read_body

BODY_LIMIT = 4 * 1024 * 1024  # bytes; Resource Manager's own
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[A-Za-z0-9.-]{1,20})?")
_TABLE: Table[Handler] = Table(
    {
        **catalogue.ROUTES,
        **groups.ROUTES,
        **identities.ROUTES,
        **federated.ROUTES,
        **clusters.ROUTES,
        **operations.ROUTES,
        **resources.ROUTES,
        **roles.ROUTES,
    }
)
_GRAPH: Table[Handler] = Table(graph.ROUTES)


class AnyCase(Route):
    """A route that takes its path in any case, and after more than one slash: some clients keep their endpoint's."""

    def __init__(self, path: str, endpoint: object, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)  # type: ignore[arg-type]  # Starlette wants Callable[..., Any]
        self.path_regex = re.compile(self.path_regex.pattern.replace("^/", "^/+", 1), re.IGNORECASE)


@dataclass(frozen=True)
class ResourceManager:
    """Resource Manager, and the little of Microsoft Graph that `az` needs beside it, on `site`."""

    site: Site
    operation_seconds: float = OPERATION_SECONDS
    writing: OneAtATime = field(default_factory=OneAtATime)

    def routes(self) -> list[Route]:
        """Return the routes."""
        roots = ("/subscriptions", "/tenants", "/providers")
        return [
            AnyCase("/metadata/endpoints", self.endpoints, ["GET"]),
            *(AnyCase(each, self.resources, _METHODS) for each in roots),
            *(AnyCase(f"{each}/{{rest:path}}", self.resources, _METHODS) for each in roots),
            AnyCase("/v1.0/{rest:path}", self.graph, _METHODS),
        ]

    async def endpoints(self, request: Request) -> Response:
        """Answer where everything is, which is all that `az cloud register` asks; no token is needed."""
        site = self.site
        return json_answer(endpoints(site.base_of(request), site.store.tenant().id, site.azure_cloud))

    async def resources(self, request: Request) -> Response:
        """Answer a request for a resource."""
        return await self._answer(request, _TABLE, self._audiences(RESOURCE_MANAGER))

    async def graph(self, request: Request) -> Response:
        """Answer a request to Microsoft Graph, which has no api-version."""
        return await self._answer(request, _GRAPH, self._audiences(MICROSOFT_GRAPH))

    def _audiences(self, service: Service) -> tuple[str, ...]:
        return (*reversed(service.names[self.site.azure_cloud].uris), *self.site.base_urls)

    async def _answer(self, request: Request, table: Table[Handler], audiences: tuple[str, ...]) -> Response:
        headers = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-correlation-request-id": _correlation(request)}
        body = await read_body(request, BODY_LIMIT)
        try:
            reply = await run_in_threadpool(self._handle, request, table, audiences, body)
        except ResourceError as error:
            note(request, outcome="refused", code=error.code)
            headers |= self._challenge(request, error) if error.status == 401 else {}
            reply = Reply(error.status, error.document())
        return _response(reply, {**headers, "Cache-Control": "no-cache"})

    def _handle(self, request: Request, table: Table[Handler], audiences: tuple[str, ...], body: bytes | None) -> Reply:
        """Admit, find, check, do: nothing is said about resources to who may not ask."""
        if body is None:
            raise ResourceError(413, "RequestContentTooLarge", f"The body is longer than {BODY_LIMIT} bytes.")
        caller = self._caller(request, audiences)
        path = request.scope.get("raw_path", b"").decode("ascii", "replace")
        query = {name.lower(): value for name, value in request.query_params.items()}
        match _found(table, request.method, path):
            case WrongMethod():
                raise problem.method_not_allowed(request.method, path)
            case Unknown():
                raise problem.path_not_found(path)
            case Found(handler, names):
                if table is _TABLE:
                    self._check(names.get("subscription"), query.get("api-version"))
                call = Call(
                    self.site.store,
                    self.site.base_of(request),
                    path,
                    names,
                    query,
                    read_json(body),
                    caller.client_id,
                    caller.principal_id,
                    self.writing,
                    self.operation_seconds,
                )
                reply = _done(handler, call)
                return Reply(204) if request.method == "HEAD" and reply.status == 200 else reply

    def _check(self, subscription: str | None, version: str | None) -> None:
        if subscription is not None and subscription.lower() != self.site.store.subscription().id:
            raise problem.subscription_not_found(subscription)
        if not version:
            raise problem.version_missing()
        if _VERSION.fullmatch(version) is None:
            raise problem.version_invalid(version)

    def _caller(self, request: Request, audiences: tuple[str, ...]) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        presented = self._presented(Secret(token.strip())) if scheme.lower() == "bearer" else None
        store = self.site.store
        return admit(presented, tenant=store.tenant().id, audiences=audiences, now=store.clock())

    def _presented(self, token: Secret) -> Presented | Unreadable:
        """Read a token's claims, and whether one of our keys signed it."""
        try:
            claims = json.loads(jws.extract_compact(token.reveal().encode()).payload)
        except (JoseError, ValueError, RecursionError):
            return Unreadable()
        if not isinstance(claims, dict):
            return Unreadable()
        keys = self.site.store.issuers.token_keys()
        return Presented(claims, verified=any(verifies(token, each.public) for each in keys))

    def _challenge(self, request: Request, error: ResourceError) -> dict[str, str]:
        """Say where a good token is to be had (RFC 6750 §3)."""
        authority = f"{self.site.base_of(request)}/{self.site.store.tenant().id}"
        said = error.message.encode("ascii", "replace").decode().replace('"', "'")
        value = f'Bearer authorization_uri="{authority}", error="invalid_token", error_description="{said}"'
        return {"WWW-Authenticate": value}


def _found(table: Table[Handler], method: str, path: str) -> Found[Handler] | WrongMethod | Unknown:
    """Find what answers; what can be shown can also be asked whether it is there (HEAD: 204 or 404)."""
    found = table.find(method, path)
    if method == "HEAD" and isinstance(found, WrongMethod) and "GET" in found.allowed:
        return table.find("GET", path)
    return found


def _done(handler: Handler, call: Call) -> Reply:
    """Do it; what the store refuses becomes Azure's refusal."""
    try:
        return handler(call)
    except StateError:
        raise
    except NotFoundError as error:
        raise ResourceError(404, "ResourceNotFound", f"{error}.") from error
    except ConflictError as error:
        raise ResourceError(409, "Conflict", f"{error}.") from error
    except RequestError as error:
        raise ResourceError(400, "BadRequest", f"{error}.") from error


def _response(reply: Reply, headers: dict[str, str]) -> Response:
    headers |= reply.headers
    if reply.document is None:
        return Response(status_code=reply.status, headers=headers)
    return json_answer(reply.document, reply.status, headers)


def _correlation(request: Request) -> str:
    for name in ("x-ms-correlation-request-id", "x-ms-client-request-id"):
        try:
            return str(uuid.UUID(request.headers.get(name, "")))
        except ValueError:
            continue
    return str(uuid.uuid4())
