"""Entra's routes: the token endpoint, OpenID metadata, key sets and instance discovery."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wisp_local.cloud.entra.claims import token_issuer
from wisp_local.cloud.entra.exchange import EVERY_TENANT, Exchange, ObservedExchange, Token, unknown_tenant
from wisp_local.cloud.entra.refusals import Refused, refuse
from wisp_local.cloud.web import NO_STORE, Site, json_answer, note, read_body, trace_id

BODY_LIMIT = 64 * 1024  # bytes; a token request has about 2 KB
_FIELD_LIMIT = 32
_FORM = "application/x-www-form-urlencoded"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_REFRESH_FROM = 2 * 60 * 60  # seconds; Entra gives refresh_in to tokens that live this long or longer


@dataclass(frozen=True)
class Endpoints:
    """Entra's endpoints on `site`."""

    site: Site
    exchange: Exchange
    observer: Callable[[ObservedExchange], None] | None = None

    def routes(self) -> list[Route]:
        """Return the routes, most specific first."""
        return [
            Route("/common/discovery/instance", self.instance),
            Route("/{tenant}/oauth2/v2.0/token", self.token, methods=_METHODS),
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self.metadata_v2),
            Route("/{tenant}/.well-known/openid-configuration", self.metadata_v1),
            Route("/{tenant}/discovery/v2.0/keys", self.keys),
            Route("/{tenant}/discovery/keys", self.keys),
        ]

    async def token(self, request: Request) -> Response:
        """Answer a token request (RFC 6749 §4.4)."""
        if request.method != "POST":
            return self._refusal(request, refuse("method_not_allowed", method=request.method), {"Allow": "POST"})
        body = await read_body(request, BODY_LIMIT)
        if body is None:
            return self._refusal(request, refuse("request_too_large"), {"Connection": "close"})
        form = _form(request, body)
        if isinstance(form, Refused):
            return self._refusal(request, form)
        ids = trace_id(request), _correlation(request)
        outcome = await run_in_threadpool(self._answer, ids, request.path_params["tenant"], form)
        if isinstance(outcome, Refused):
            return self._refusal(request, outcome)
        note(request, outcome="granted")
        return json_answer(_grant(outcome), 200, NO_STORE)

    def _answer(self, ids: tuple[str, str], tenant: str, form: list[tuple[str, str]]) -> Token | Refused:
        """Answer the request, and show it to the observer with its trace id and the client's correlation id."""
        outcome = self.exchange.answer(tenant, form)
        if self.observer is not None:
            self.observer(ObservedExchange(*ids, tenant, form, outcome))
        return outcome

    async def metadata_v2(self, request: Request) -> Response:
        """Answer the v2.0 discovery document; MSAL requires its issuer to be on the authority it asked."""
        tenant = request.path_params["tenant"]
        issuer = f"{self.site.base_of(request)}/{'{tenantid}' if tenant in EVERY_TENANT else tenant}/v2.0"
        return self._metadata(request, issuer, "v2.0/")

    async def metadata_v1(self, request: Request) -> Response:
        """Answer the v1.0 discovery document, whose issuer is the one in managed identities' tokens."""
        tenant = request.path_params["tenant"]
        return self._metadata(request, token_issuer("{tenantid}" if tenant in EVERY_TENANT else tenant), "")

    def _metadata(self, request: Request, issuer: str, version: str) -> Response:
        tenant = request.path_params["tenant"]
        if not self._knows(tenant):
            return self._unknown(request, tenant)
        authority = f"{self.site.base_of(request)}/{tenant}"
        document = {
            "token_endpoint": f"{authority}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "jwks_uri": f"{authority}/discovery/{version}keys",
            "issuer": issuer,
            "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "tenant_region_scope": None,
            "cloud_instance_name": "microsoftonline.com",
        }
        return json_answer(document)

    async def keys(self, request: Request) -> Response:
        """Answer the keys that sign access tokens."""
        tenant = request.path_params["tenant"]
        if not self._knows(tenant):
            return self._unknown(request, tenant)
        keys = await run_in_threadpool(self.site.store.issuers.token_keys)
        return json_answer({"keys": [key.published() for key in keys]})

    async def instance(self, request: Request) -> Response:
        """Answer instance discovery: this host is an authority without aliases."""
        base = self.site.base_of(request)
        asked = urlsplit(request.query_params.get("authorization_endpoint", "")).path.split("/")
        tenant = asked[1] if len(asked) > 1 and self._knows(asked[1]) else "common"
        host = urlsplit(base).netloc
        document = {
            "tenant_discovery_endpoint": f"{base}/{tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }
        return json_answer(document)

    def _unknown(self, request: Request, tenant: str) -> Response:
        """Refuse the metadata of an unknown tenant: with `invalid_tenant` if the name is a possible one."""
        refused = unknown_tenant(tenant)
        return self._refusal(request, refused, error="invalid_tenant" if refused.code == 90002 else None)

    def _refusal(
        self, request: Request, refused: Refused, headers: dict[str, str] | None = None, *, error: str | None = None
    ) -> Response:
        """Answer the error of RFC 6749 §5.2 with Entra's additions and the client's own request id."""
        trace, correlation = trace_id(request), _correlation(request) or str(uuid.uuid4())
        timestamp = f"{datetime.fromtimestamp(self.site.store.clock(), UTC):%Y-%m-%d %H:%M:%SZ}"
        ending = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"
        document = {
            "error": error or refused.error,
            "error_description": f"AADSTS{refused.code}: {refused.text} {ending}",
            "error_codes": [refused.code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={refused.code}",
        }
        note(request, outcome="refused", code=refused.code, trace_id=trace)
        return json_answer(document, refused.status, {**NO_STORE, "x-ms-request-id": trace, **(headers or {})})

    def _knows(self, tenant: str) -> bool:
        return tenant in EVERY_TENANT or tenant.lower() == self.site.store.tenant().id


def _form(request: Request, body: bytes) -> list[tuple[str, str]] | Refused:
    """Parse the body; Entra reads nothing of another content type, so that the first parameter is missing."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return []
    try:
        text = body.decode("ascii")  # RFC 6749 appendix B: other characters are percent-encoded
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_FIELD_LIMIT)
    except ValueError:
        return refuse("request_malformed")


def _grant(token: Token) -> dict[str, object]:
    """Return the answer of RFC 6749 §5.1 with Entra's additions."""
    document: dict[str, object] = {
        "token_type": "Bearer",
        "expires_in": token.lifetime,
        "ext_expires_in": token.lifetime,
    }
    if token.lifetime >= _REFRESH_FROM:
        document["refresh_in"] = token.lifetime // 2
    return {**document, "access_token": token.access_token.reveal()}


def _correlation(request: Request) -> str:
    """Return the request id that the client sent, a GUID; empty if it sent none."""
    try:
        return str(uuid.UUID(request.headers.get("client-request-id", "")))
    except ValueError:
        return ""
