"""Which claims of the access token matter here and why; checks and explains them, and verifies no signature."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from wisp_local.demo.story import GROUP, IDENTITY

MIRID_ENDING = f"/resourcegroups/{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{IDENTITY}"

MEANING = {
    "aud": "whom the token is for: the resource that was asked for",
    "appid": "the identity's client id: AZURE_CLIENT_ID in the pod",
    "oid": "the identity's principal id: what role assignments name",
    "xms_cae": 'continuous access evaluation: "1", the token can be revoked before it expires',
    "xms_mirid": "the managed identity itself: its resource id",
    "xms_tcdt": "when the tenant was created, in Unix seconds",
}
"""The claims of interest."""


@dataclass(frozen=True)
class Promise:
    """What the token must say: for whom, of which identity, by which tenant."""

    resource: str
    client_id: str
    principal_id: str
    tenant_id: str


def fault(claims: Mapping[str, object], promise: Promise) -> str | None:
    """Say which claim is not as promised, or None when all are."""
    holds = {
        "aud": claims.get("aud") == promise.resource,
        "iss": claims.get("iss") == f"https://sts.windows.net/{promise.tenant_id}/",
        "appid": claims.get("appid") == promise.client_id,
        "oid": claims.get("oid") == promise.principal_id,
        "xms_cae": claims.get("xms_cae") == "1",
        "xms_mirid": str(claims.get("xms_mirid")).endswith(MIRID_ENDING),
        "xms_tcdt": type(claims.get("xms_tcdt")) is int,
    }
    wrong = next((name for name, as_promised in holds.items() if not as_promised), None)
    return None if wrong is None else f"the token's claim {wrong} is {json.dumps(claims.get(wrong))}"


def abbreviated(token: str) -> str:
    """Show of a token how it begins and how long it is."""
    return f"{token[:20]}... ({len(token):,} characters)"
