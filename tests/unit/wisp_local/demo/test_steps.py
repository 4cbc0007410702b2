"""The steps of the walk-through and the claims of its token."""

import pytest

from wisp_local.demo import steps
from wisp_local.demo.steps import CLAIM_MEANINGS, MIRID_ENDING, Expected, abbreviate, claim_problem


def test_steps_have_the_documented_names() -> None:
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
def test_every_command_of_the_walk_through_is_shown(command: str) -> None:
    shown = "".join(step.on_aks for step in steps.STEPS).replace(" \\\n  ", " ")
    assert command in shown


def test_curl_runs_here_with_the_arguments_shown_for_aks() -> None:
    shown = steps.step_named("curl").on_aks.replace(" \\\n  ", " ").strip()
    ran = steps.curl_text("http://169.254.169.254", 1000, replaced=False)
    assert shown.endswith(ran.removeprefix("as uid 1000: ").replace("'", '"'))


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
            id="sdk-with-an-address",
        ),
        pytest.param(
            steps.sdk_text(1000, None, "...")[0],
            "as uid 1000, without the AZURE_* variables above, as in a skipped container",
            id="sdk-without-an-address",
        ),
    ],
)
def test_differences_from_aks_are_shown(line: str, expected: str) -> None:
    assert line.startswith(expected)


EXPECTED = Expected("https://management.azure.com/", "client", "principal", "tenant")


CLAIMS: dict[str, object] = {
    "aud": "https://management.azure.com/",
    "iss": "https://sts.windows.net/tenant/",
    "appid": "client",
    "oid": "principal",
    "xms_cae": "1",
    "xms_mirid": f"/subscriptions/1{MIRID_ENDING}",
    "xms_tcdt": 1645137228,
}


def test_token_with_the_expected_claims_has_no_problem() -> None:
    assert claim_problem(CLAIMS, EXPECTED) is None


@pytest.mark.parametrize(
    "name, value",
    [
        ("aud", "https://management.azure.com"),
        ("iss", "https://sts.windows.net/other/"),
        ("appid", "principal"),
        ("oid", None),
        ("xms_cae", 1),
        ("xms_mirid", "/subscriptions/1/resourcegroups/other"),
        ("xms_tcdt", "1645137228"),
        ("xms_tcdt", True),
    ],
)
def test_unexpected_claim_is_reported_with_its_name(name: str, value: object) -> None:
    complaint = claim_problem({**CLAIMS, name: value}, EXPECTED)
    assert complaint is not None
    assert complaint.startswith(f"the token's claim {name} is ")


def test_claims_of_a_managed_identity_are_explained() -> None:
    assert {"aud", "appid", "oid", "xms_cae", "xms_mirid", "xms_tcdt"} == set(CLAIM_MEANINGS)


def test_abbreviated_token_shows_only_its_header() -> None:
    assert abbreviate("eyJ0eXAiOiJKV1QiLCJ4" + "s" * 1500) == "eyJ0eXAiOiJKV1QiLCJ4... (1,520 characters)"


def test_sdk_runs_here_with_the_program_shown_for_aks() -> None:
    assert f"'\n{steps.SDK_PROGRAM}'" in steps.step_named("sdk").on_aks
