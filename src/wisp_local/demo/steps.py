"""The steps of the walk-through, the commands for each on AKS, and which claims of the access token matter."""

import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

GROUP = "WorkloadIdentityRG"
LOCATION = "eastus"
CLUSTER = "wilab"
IDENTITY = "wi-demo-identity"
CREDENTIAL = "wi-demo-federated-id"
NAMESPACE = "kube-system"
SERVICE_ACCOUNT = "wi-demo-sa"
POD = "ubuntu"
RESOURCE = "https://management.azure.com/"
MIRID_ENDING = f"/resourcegroups/{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{IDENTITY}"
TOKEN_PATH = f"/metadata/identity/oauth2/token?resource={RESOURCE}&api-version=2018-02-01"


SDK_PROGRAM = """\
from azure.identity import ManagedIdentityCredential
print(ManagedIdentityCredential().get_token("https://management.azure.com/.default").token)
"""
CURL_REPLACEMENT = """\
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Metadata": "true"})
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).read().decode())
"""
"""A program that replaces curl on machines without it."""


@dataclass(frozen=True)
class Step:
    """A step: `name` is for programs, `title` for people, `on_aks` are the commands to type on AKS."""

    name: str
    title: str
    on_aks: str


_WALKTHROUGH = tomllib.loads(files(__package__).joinpath("walkthrough.toml").read_text(encoding="utf-8"))
STEPS = tuple(Step(**step) for step in _WALKTHROUGH["steps"])
CLAIM_MEANINGS: Mapping[str, str] = _WALKTHROUGH["claims"]
"""The claims that identify a managed identity and its token."""


def step_named(name: str) -> Step:
    """Return the step of that name."""
    return next(step for step in STEPS if step.name == name)


def curl_command(metadata: str) -> tuple[str, ...]:
    """Return the walk-through's command, for a metadata service at the base URL `metadata`."""
    return ("curl", "-s", "-H", "Metadata:true", "--noproxy", "*", metadata + TOKEN_PATH)


def user_text(uid: int | None) -> str:
    """Return which user ran a program."""
    return "as the one user there is" if uid is None else f"as uid {uid}"


def curl_text(metadata: str, uid: int | None, *, replaced: bool) -> str:
    """Return which command asked the metadata service."""
    if replaced:
        return f"{user_text(uid)}, by Python's standard library since curl cannot be run: GET {metadata}{TOKEN_PATH}"
    return f"{user_text(uid)}: {shlex.join(curl_command(metadata))}"


def sdk_text(uid: int | None, address: str | None, token: str) -> list[str]:
    """Return how the SDK was run, with the `address` that it needs if nothing is redirected."""
    without = "without the AZURE_* variables above, as in a skipped container"
    variable = f"; told AZURE_POD_IDENTITY_AUTHORITY_HOST={address}" if address else ""
    return [f"{user_text(uid)}, {without}{variable}", f"token: {token}"]


def verified_text(key_id: object, keys_url: str, audience: object) -> list[str]:
    """Return how both tokens were verified, and the audience of the SDK's token."""
    return [
        f"signature, issuer and time are right: RS256, key {key_id}",
        f"one of the keys that Entra publishes at {keys_url}",
        f"the SDK's token too; it asked for {audience}",
    ]


@dataclass(frozen=True)
class Expected:
    """What the token must contain: its audience, the ids of the identity, and its tenant."""

    resource: str
    client_id: str
    principal_id: str
    tenant_id: str


def claim_problem(claims: Mapping[str, object], expected: Expected) -> str | None:
    """Return which claim is not as expected, or None."""
    holds = {
        "aud": claims.get("aud") == expected.resource,
        "iss": claims.get("iss") == f"https://sts.windows.net/{expected.tenant_id}/",
        "appid": claims.get("appid") == expected.client_id,
        "oid": claims.get("oid") == expected.principal_id,
        "xms_cae": claims.get("xms_cae") == "1",
        "xms_mirid": str(claims.get("xms_mirid")).endswith(MIRID_ENDING),
        "xms_tcdt": type(claims.get("xms_tcdt")) is int,
    }
    wrong = next((name for name, is_right in holds.items() if not is_right), None)
    return None if wrong is None else f"the token's claim {wrong} is {json.dumps(claims.get(wrong))}"


def abbreviate(token: str) -> str:
    """Return the beginning of a token and its length."""
    return f"{token[:20]}... ({len(token):,} characters)"
