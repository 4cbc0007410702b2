"""The walk-through's words."""

import pytest

from wisp_local.demo import steps


def test_the_steps_are_the_walk_throughs() -> None:
    """Their names are part of what --json promises."""
    names = ["cluster", "identity", "federated-credential", "pod", "curl", "sdk", "token"]
    assert [step.name for step in steps.STEPS] == names
    assert [steps.step_named(name).name for name in names] == names


@pytest.mark.parametrize(
    "command",
    """\
RG=WorkloadIdentityRG LOC=eastus CLUSTER_NAME=wilab NAMESPACE=kube-system
az group create -g $RG -l $LOC
az aks create -g $RG -n $CLUSTER_NAME --node-count 1 --enable-oidc-issuer --enable-workload-identity --generate-ssh-keys
az aks get-credentials -g $RG -n $CLUSTER_NAME
export AKS_OIDC_ISSUER="$(az aks show -n $CLUSTER_NAME -g $RG --query "oidcIssuerProfile.issuerUrl" -otsv)"
az identity create --name wi-demo-identity --resource-group $RG --location $LOC
az identity show --resource-group $RG --name wi-demo-identity --query 'clientId' -o tsv
az identity federated-credential create --name wi-demo-federated-id --identity-name wi-demo-identity
--resource-group $RG --issuer ${AKS_OIDC_ISSUER} --subject system:serviceaccount:${NAMESPACE}:wi-demo-sa
serviceAccountName: wi-demo-sa
azure.workload.identity/use: "true"
azure.workload.identity/inject-proxy-sidecar: "true"
azure.workload.identity/client-id: ${USER_ASSIGNED_CLIENT_ID}
kubectl wait --for=condition=Ready pod/ubuntu -n $NAMESPACE
kubectl exec ubuntu -n $NAMESPACE -- curl -s -H Metadata:true --noproxy "*"
"http://169.254.169.254/metadata/identity/oauth2/token?resource=https://management.azure.com/&api-version=2018-02-01"
""".splitlines(),
    ids=lambda command: command[:30],
)
def test_every_command_of_the_walk_through_is_told(command: str) -> None:
    """What one types on AKS is there word for word, but for the breaking of lines."""
    told = "".join(step.on_aks for step in steps.STEPS).replace(" \\\n  ", " ")
    assert command in told


def test_what_is_asked_here_is_what_is_asked_there() -> None:
    """The command that runs has the arguments of the one that is told."""
    told = steps.step_named("curl").on_aks.replace(" \\\n  ", " ").strip()
    ran = steps.curl_text("http://169.254.169.254", 1000, replaced=False)
    assert told.endswith(ran.removeprefix("as uid 1000: ").replace("'", '"'))


@pytest.mark.parametrize(
    "line, expected",
    [
        pytest.param(
            steps.curl_text("http://127.0.0.1:1", None, replaced=True),
            "as the one user there is, by Python's standard library since curl cannot be run: GET http://127.0.0.1:1/met",
            id="curl-replaced",
        ),
        pytest.param(
            steps.sdk_text(None, "http://127.0.0.1:1", "...")[0],
            "as the one user there is, without the AZURE_* variables above, as in a skipped container; "
            "told AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:1",
            id="sdk-told-an-address",
        ),
        pytest.param(
            steps.sdk_text(1000, None, "...")[0],
            "as uid 1000, without the AZURE_* variables above, as in a skipped container",
            id="sdk-told-nothing",
        ),
    ],
)
def test_what_differs_is_said(line: str, expected: str) -> None:
    """A replaced curl, an address the SDK had to be told: nothing is passed over."""
    assert line.startswith(expected)
