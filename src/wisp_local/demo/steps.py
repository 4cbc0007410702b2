"""The steps of the walk-through, the commands for each on AKS, and which claims of the access token matter."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

GROUP = "WorkloadIdentityRG"
LOCATION = "eastus"
CLUSTER = "wilab"
IDENTITY = "wi-demo-identity"
CREDENTIAL = "wi-demo-federated-id"
NAMESPACE = "kube-system"
SERVICE_ACCOUNT = "wi-demo-sa"
POD = "ubuntu"
RESOURCE = "https://management.azure.com/"
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


STEPS = (
    Step(
        "cluster",
        "A cluster with an OIDC issuer",
        """\
RG=WorkloadIdentityRG LOC=eastus CLUSTER_NAME=wilab NAMESPACE=kube-system
az group create -g $RG -l $LOC
az aks create -g $RG -n $CLUSTER_NAME --node-count 1 --enable-oidc-issuer --enable-workload-identity \\
  --generate-ssh-keys
az aks get-credentials -g $RG -n $CLUSTER_NAME
export AKS_OIDC_ISSUER="$(az aks show -n $CLUSTER_NAME -g $RG --query "oidcIssuerProfile.issuerUrl" -otsv)"
""",
    ),
    Step(
        "identity",
        "A managed identity",
        """\
az identity create --name wi-demo-identity --resource-group $RG --location $LOC
export USER_ASSIGNED_CLIENT_ID=$(
  az identity show --resource-group $RG --name wi-demo-identity --query 'clientId' -o tsv)
""",
    ),
    Step(
        "federated-credential",
        "A service account, and the federated credential that lets it act as the identity",
        """\
kubectl apply -f - <<EOF
apiVersion: v1
kind: ServiceAccount
metadata:
  name: wi-demo-sa
  namespace: kube-system
  annotations:
    azure.workload.identity/client-id: ${USER_ASSIGNED_CLIENT_ID}
  labels:
    azure.workload.identity/use: "true"
EOF
az identity federated-credential create --name wi-demo-federated-id --identity-name wi-demo-identity \\
  --resource-group $RG --issuer ${AKS_OIDC_ISSUER} --subject system:serviceaccount:${NAMESPACE}:wi-demo-sa
""",
    ),
    Step(
        "pod",
        "A pod with the sidecar",
        """\
kubectl apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata:
  name: ubuntu
  namespace: kube-system
  labels:
    azure.workload.identity/use: "true"
  annotations:
    azure.workload.identity/inject-proxy-sidecar: "true"
spec:
  serviceAccountName: wi-demo-sa
  containers:
  - name: ubuntu
    image: ubuntu:20.04
    command: ["/bin/bash", "-c", "--"]
    args: ["apt-get update;apt-get install -y curl;while true; do sleep 30; done;"]
EOF
kubectl wait --for=condition=Ready pod/ubuntu -n $NAMESPACE --timeout=120s
""",
    ),
    Step(
        "curl",
        "An application that knows only the metadata service asks it for a token",
        """\
kubectl exec ubuntu -n $NAMESPACE -- curl -s -H Metadata:true --noproxy "*" \\
  "http://169.254.169.254/metadata/identity/oauth2/token?resource=https://management.azure.com/&api-version=2018-02-01"
""",
    ),
    Step(
        "sdk",
        "So does the Azure SDK, unmodified",
        f"""\
kubectl exec ubuntu -n $NAMESPACE -c sdk -- python3 -c '
{SDK_PROGRAM}'
# In a pod with the annotation azure.workload.identity/inject-proxy-only: "true". In others the container has
# AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE, with which this SDK asks Entra instead of the metadata service.
""",
    ),
    Step("token", "What the token says", "# paste the token at https://jwt.ms\n"),
)


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


MIRID_ENDING = f"/resourcegroups/{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{IDENTITY}"
CLAIM_MEANINGS = {
    "aud": "whom the token is for: the resource that was asked for",
    "appid": "the identity's client id: AZURE_CLIENT_ID in the pod",
    "oid": "the identity's principal id: what role assignments name",
    "xms_cae": 'continuous access evaluation: "1", the token can be revoked before it expires',
    "xms_mirid": "the managed identity itself: its resource id",
    "xms_tcdt": "when the tenant was created, in Unix seconds",
}
"""The claims that identify a managed identity and its token."""


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
