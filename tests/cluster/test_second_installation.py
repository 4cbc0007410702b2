"""A second installation for one namespace: no native sidecars, a custom token endpoint, the legacy token path."""

from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest

from tests.cluster import sdk
from tests.cluster.cluster import EXEMPT, Cluster, eventually
from tests.cluster.manifests import ENV_MODE, PREFIX, PROXY_ONLY, SIDECAR, Manifest, container, pod
from tests.cluster.team import TOKEN, TOKEN_FILE, Team, curl, make_team, parse_response, payload
from tests.support.https_server import HttpsServer, Reply, Request, https_server
from wisp.admission.warnings import BYPASS

pytestmark = pytest.mark.cluster
OLD_TOKEN_FILE = "/var/run/secrets/azure/tokens/azure-identity-token"
SNI_NAME = "endpoint.wisp.test"
AUDIENCE = "api://wisp.test/binding"
GRANTED = "what-the-endpoint-grants"
ASKS = " ".join(f"'{word}'" for word in curl(TOKEN, "-H", "Metadata:true"))
BINDING = {f"{PREFIX}use-binding": "true"}
BOUND = {**SIDECAR, **BINDING}
CREDENTIAL = """\
from azure.identity import DefaultAzureCredential
print(DefaultAzureCredential().get_token("https://management.azure.com/.default").token)
"""


def _grant(request: Request) -> Reply:
    """Answer as the endpoint of an identity binding, which replaces Entra."""
    assert request.body
    return Reply({"token_type": "Bearer", "expires_in": 86399, "access_token": GRANTED})


@pytest.fixture(name="endpoint", scope="module")
def _endpoint(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsServer]:
    with https_server(cluster.node.network.host, SNI_NAME, _grant, tmp_path_factory.mktemp("endpoint")) as endpoint:
        yield endpoint


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster, endpoint: HttpsServer) -> Iterator[Team]:
    """Make a team in a namespace that the shared installation skips, and an installation only for it."""
    ca: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "endpoint"}}
    team = make_team(cluster, EXEMPT, {**ca, "data": {"ca.crt": endpoint.ca}})
    binding = {
        "annotationSuffix": "binding",
        "audience": AUDIENCE,
        "url": f"{endpoint.url}/bound",
        "sniName": SNI_NAME,
        "caConfigMap": "endpoint",
    }
    install_second(cluster, binding, "legacyTokenMount=true")
    yield team
    cluster.helm("uninstall", "second", "--namespace", "wisp-second")


def install_second(cluster: Cluster, binding: dict[str, str], *settings: str) -> None:
    """Install or upgrade the second webhook with these settings of its custom token endpoint."""
    installed = f"mutatingWebhookNamespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name={EXEMPT}"
    chosen = [f"customTokenEndpoint.{name}={value}" for name, value in binding.items()]
    usual = ("nativeSidecar=never", "replicaCount=1")
    cluster.install(installed, *chosen, *usual, *settings, release="second", namespace="wisp-second")
    eventually(lambda: cluster.is_admitting(EXEMPT), "the second webhook's Service")


def test_pod_without_native_sidecars_does_not_end(team: Team) -> None:
    """Admission warns of it: the application gets its token and ends, and the sidecar keeps running."""
    early = container("early", "sh", "-c", f"{ASKS} || true")
    asks = container("app", "sh", "-c", ASKS)
    output = team.make(pod("once", asks, restartPolicy="Never", initContainers=[early]))
    assert [line for line in output.splitlines() if line.startswith("Warning: ")] == [
        "Warning: no native sidecars here: the pod will not end, because the sidecar does not (Jobs stay active)",
        "Warning: no native sidecars here: init containers get no token, because the sidecar starts after them",
        f"Warning: {BYPASS.format('app and 1 more')}",
    ]
    ended = "jsonpath={.status.containerStatuses[?(@.name=='app')].state.terminated.exitCode}=0"
    team.kubectl("wait", f"--for={ended}", "pod/once", "--timeout=300s")
    team.claims(parse_response(team.kubectl("logs", "once")))
    assert "curl: (7) Failed to connect to 169.254.169.254" in team.kubectl("logs", "once", "-c", "early")
    status = team.get("pod", "once")["status"]
    assert status["phase"] == "Running"
    assert {container["name"]: "running" in container["state"] for container in status["containerStatuses"]} == {
        "azwi-proxy": True,
        "app": False,
    }


def test_identity_binding_is_asked_instead_of_entra(team: Team, endpoint: HttpsServer) -> None:
    """The endpoint gets the pod's assertion for its own audience, by its own name in TLS. Entra gets no request."""
    before = team.exchanges()
    team.make(pod("bound", annotations=BOUND))
    team.wait_until_ready("bound")
    answer = team.ask("bound")
    assert (answer.status, answer.document["access_token"]) == (200, GRANTED)
    (request,) = endpoint.requests
    assert request.server_name == SNI_NAME
    assert request.path == f"/bound/{team.identity.tenant_id}/oauth2/v2.0/token"
    form = parse_qs(request.body.decode())
    assert form["client_id"] == [team.identity.client_id]
    claims = payload(form["client_assertion"][0])
    assert (claims["sub"], claims["aud"]) == (team.subject, [AUDIENCE])
    assert team.exchanges() == before


@pytest.mark.parametrize("mode", [{}, ENV_MODE], ids=["redirect", "env"])
def test_sdk_gets_the_token_of_an_identity_binding(
    mode: dict[str, str], team: Team, endpoint: HttpsServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the identity only in the sidecar. Entra gets no request."""
    sdk.load(team.cluster, tmp_path_factory.mktemp("sdk"))
    name = f"only-{len(mode)}"
    before, requests = team.exchanges(), len(endpoint.requests)
    output = team.make(sdk.python_pod(name, {**PROXY_ONLY, **BINDING, **mode}))
    assert all("can bypass the redirect" in line for line in output.splitlines() if "Warning" in line)
    team.wait_until_ready(name)
    assert team.run(name, "python3", "-c", CREDENTIAL).strip() == GRANTED
    assert len(endpoint.requests) > requests
    assert team.exchanges() == before
    environment = team.run(name, "env")
    own = {"AZURE_POD_IDENTITY_AUTHORITY_HOST"}
    assert {variable.split("=")[0] for variable in environment.splitlines() if variable.startswith("AZURE_")} <= own
    mounts = team.run(name, "cat", "/proc/self/mountinfo")
    assert "/secrets/azure" not in mounts


def test_token_is_at_its_legacy_path_too(team: Team) -> None:
    """It is another token for the same audience."""
    team.make(pod("legacy", annotations={}))
    team.wait_until_ready("legacy")
    new, old = (team.service_account_claims("legacy", file) for file in (TOKEN_FILE, OLD_TOKEN_FILE))
    assert (old["aud"], old["sub"]) == (new["aud"], new["sub"]) == (["api://AzureADTokenExchange"], team.subject)


@pytest.mark.parametrize("source", ["values", "variables"])
def test_endpoint_is_trusted_by_a_ca_given_as_text(source: str, team: Team, endpoint: HttpsServer) -> None:
    """By azure-workload-identity's names of values and variables."""
    named = {
        "azureKubernetesTokenProxy": ("AZURE_KUBERNETES_TOKEN_PROXY", f"{endpoint.url}/{source}"),
        "azureKubernetesSniName": ("AZURE_KUBERNETES_SNI_NAME", SNI_NAME),
        "azureKubernetesCaData": ("AZURE_KUBERNETES_CA_DATA", endpoint.ca),
    }
    binding, settings = {"annotationSuffix": "binding", "audience": AUDIENCE}, list[str]()
    if source == "values":
        binding |= {name: value for name, (_, value) in named.items()}
    else:
        for index, (name, value) in enumerate(named.values()):
            settings += [f"extraEnv[{index}].name={name}", f"extraEnv[{index}].value={value}"]
    install_second(team.cluster, binding, *settings)
    team.make(pod(source, annotations=BOUND))
    team.wait_until_ready(source)
    answer = team.ask(source)
    assert (answer.status, answer.document["access_token"]) == (200, GRANTED)
    assert endpoint.requests[-1].path.startswith(f"/{source}/")
