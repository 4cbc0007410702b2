"""The claims of the access token that Entra issues to a managed identity or an application.

The v1.0 access token of https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference, with the
claims of managed identities: xms_mirid (the identity's resource id) and xms_tcdt (when the tenant was created).
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from wisp_local.cloud.entra.directory import Client, ManagedIdentity, Tenant

DEFAULT_LIFETIME = 24 * 60 * 60  # seconds; of a managed identity's token
APPLICATION_LIFETIME = 60 * 60  # seconds; of an application's, plus or minus half an hour
SHARED_KEY = "1"  # appidacr: 0 public client, 1 secret, 2 certificate or federated assertion
CERTIFICATE = "2"


@dataclass(frozen=True)
class Issue:
    """What is issued: a token for `audience`, at `issued_at` (Unix seconds), for `lifetime` seconds.

    `unique` makes this token differ from every other (16 random bytes or more); `capabilities` are what the
    client claimed in xms_cc (`cp1`: it understands claims challenges); `authenticated_by` is the claim appidacr.
    """

    audience: str
    issued_at: int
    lifetime: int
    unique: bytes
    capabilities: tuple[str, ...] = ()
    authenticated_by: str = CERTIFICATE


def access_token_claims(tenant: Tenant, client: Client, issue: Issue) -> Mapping[str, object]:
    """Return the claims in the order in which Entra writes them: by name within the registered and the private."""
    issuer = token_issuer(tenant.id)
    return {
        "aud": issue.audience,
        "iss": issuer,
        "iat": issue.issued_at,
        "nbf": issue.issued_at,
        "exp": issue.issued_at + issue.lifetime,
        "aio": _opaque(issue.unique, "aio", 32),
        "appid": client.client_id,
        "appidacr": issue.authenticated_by,
        "idp": issuer,
        "idtyp": "app",
        "oid": client.principal_id,
        "rh": f"1.{_opaque(tenant.id.encode(), 'rh', 32)}.",
        "sub": client.principal_id,
        "tid": tenant.id,
        "uti": _opaque(issue.unique, "uti", 16),
        "ver": "1.0",
        **({"xms_cc": list(issue.capabilities)} if issue.capabilities else {}),
        "xms_cae": "1",
        **({"xms_mirid": client.resource_id} if isinstance(client, ManagedIdentity) else {}),
        "xms_tcdt": tenant.created,
    }


def token_issuer(tenant_id: str) -> str:
    """Return the `iss` of v1.0 access tokens, the same on every local cloud."""
    return f"https://sts.windows.net/{tenant_id}/"


def _opaque(seed: bytes, purpose: str, length: int) -> str:
    digest = hashlib.sha256(purpose.encode() + b"\0" + seed).digest()
    return base64.urlsafe_b64encode(digest[:length]).rstrip(b"=").decode()
