"""Answer the discovery requests that SDKs send to the token proxy before their token request. Pure.

azidentity (Go) sends all of MSAL's requests to the token proxy. It reads the tenant's OpenID configuration first, and
gives up without it. For an authority that is not one of Microsoft's, azidentity and @azure/identity (JavaScript) also
need instance discovery. The answers are those of Entra, without what no SDK reads; they depend only on the authority.
"""

import re
from urllib.parse import parse_qsl, urlsplit

import msgspec

from wisp.http.messages import Request, Response

INSTANCE_PATH = "/common/discovery/instance"
_CONFIGURATION = re.compile(r"/([0-9A-Za-z.-]{1,128})/v2\.0/\.well-known/openid-configuration")
_TENANT = re.compile(r"[0-9A-Za-z.-]{1,128}")
_PARAMETERS = 16
_METHODS = (b"GET", b"HEAD")

_encode = msgspec.json.Encoder().encode


def discovery(request: Request, authority: str) -> Response | None:
    """Return the discovery document that is requested, or None for any other request.

    `authority` is the URL of Entra without a slash at its end. A tenant that may not be used is not refused here, but
    with its token request, whose error says why.
    """
    if request.method not in _METHODS:
        return None
    try:
        path, _, query = request.target.decode("ascii").partition("?")
    except UnicodeDecodeError:
        return None
    if path == INSTANCE_PATH:
        return Response(200, _encode(_instance(query, authority)))
    if found := _CONFIGURATION.fullmatch(path):
        return Response(200, _encode(_configuration(found[1], authority)))
    return None


def _instance(query: str, authority: str) -> dict[str, object]:
    """Confirm that the authority is one, and say where its OpenID configuration is."""
    host = authority.removeprefix("https://")
    return {
        "tenant_discovery_endpoint": f"{authority}/{_tenant(query)}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }


def _tenant(query: str) -> str:
    """Return the tenant of the parameter `authorization_endpoint`, whose path begins with it."""
    try:
        parameters = dict(parse_qsl(query, max_num_fields=_PARAMETERS))
        tenant = urlsplit(parameters.get("authorization_endpoint", "")).path.strip("/").partition("/")[0]
    except ValueError:
        return "common"
    return tenant if _TENANT.fullmatch(tenant) else "common"


def _configuration(tenant: str, authority: str) -> dict[str, object]:
    """Return the endpoints of a tenant. MSAL requires the issuer to be at the authority that it asked."""
    base = f"{authority}/{tenant}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "issuer": f"{base}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
