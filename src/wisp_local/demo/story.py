"""The walk-through's names, its steps, and what one types for each on AKS; knows nothing of this machine."""

import shlex
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
"""What asks where there is no curl."""


@dataclass(frozen=True)
class Step:
    """A step of the walk-through: `name` for programs, `title` for people, `on_aks` what one types there."""

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


def step_called(name: str) -> Step:
    """Return the step of that name."""
    return next(each for each in STEPS if each.name == name)


def curl_command(metadata: str) -> tuple[str, ...]:
    """Return the walk-through's command, for a metadata service at the base URL `metadata`."""
    return ("curl", "-s", "-H", "Metadata:true", "--noproxy", "*", metadata + TOKEN_PATH)


def who(uid: int | None) -> str:
    """Say as whom a program ran."""
    return "as the one user there is" if uid is None else f"as uid {uid}"


def told_curl(metadata: str, uid: int | None, *, replaced: bool) -> str:
    """Say what was run to ask the metadata service."""
    if replaced:
        return f"{who(uid)}, by Python's standard library since curl cannot be run: GET {metadata}{TOKEN_PATH}"
    return f"{who(uid)}: {shlex.join(curl_command(metadata))}"


def told_sdk(uid: int | None, address: str | None, token: str) -> list[str]:
    """Say how the SDK was run, and the one thing it had to be told where nothing is redirected."""
    without = "without the AZURE_* variables above, as in a skipped container"
    told = f"; told AZURE_POD_IDENTITY_AUTHORITY_HOST={address}" if address else ""
    return [f"{who(uid)}, {without}{told}", f"token: {token}"]


def told_verified(key_id: object, keys_url: str, audience: object) -> list[str]:
    """Say that both tokens were verified and how, and whom the SDK's is for."""
    return [
        f"signature, issuer and time are right: RS256, key {key_id}",
        f"one of the keys that Entra publishes at {keys_url}",
        f"the SDK's token too; it asked for {audience}",
    ]
