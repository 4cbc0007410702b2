"""An installation of its own for one namespace: no native sidecars, a custom token endpoint, the token's old place."""

from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest

from tests.cluster import sdk
from tests.cluster.https import Asked, Listening, listening
from tests.cluster.manifests import ENV_MODE, PREFIX, PROXY_ONLY, SIDECAR, Manifest, container, pod
from tests.cluster.site import EXEMPT, Site, eventually
from tests.cluster.team import TOKEN, TOKEN_FILE, Team, curl, heard, payload, settle
from wisp.admission.advice import BYPASS

pytestmark = pytest.mark.cluster
OLD_TOKEN_FILE = "/var/run/secrets/azure/tokens/azure-identity-token"
SNI_NAME = "endpoint.wisp.test"
AUDIENCE = "api://wisp.test/binding"
GRANTED = "what-the-endpoint-grants"
ASKS = " ".join(f"'{each}'" for each in curl(TOKEN, "-H", "Metadata:true"))
BINDING = {f"{PREFIX}use-binding": "true"}
BOUND = {**SIDECAR, **BINDING}
CREDENTIAL = """\
from azure.identity import DefaultAzureCredential
print(DefaultAzureCredential().get_token("https://management.azure.com/.default").token)
"""


def _grant(asked: Asked) -> object:
    """Answer as an identity binding's endpoint does, which takes Entra's place."""
    assert asked.body
    return {"token_type": "Bearer", "expires_in": 86399, "access_token": GRANTED}


@pytest.fixture(name="endpoint", scope="module")
def _endpoint(cluster: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(cluster.node.network.host, SNI_NAME, _grant, tmp_path_factory.mktemp("endpoint")) as endpoint:
        yield endpoint


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site, endpoint: Listening) -> Iterator[Team]:
    """Make the team of a namespace that the shared installation leaves alone, and one that serves it only."""
    ca: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "endpoint"}}
    team = settle(cluster, EXEMPT, {**ca, "data": {"ca.crt": endpoint.ca}})
    binding = {
        "annotationSuffix": "binding",
        "audience": AUDIENCE,
        "url": f"{endpoint.url}/bound",
        "sniName": SNI_NAME,
        "caConfigMap": "endpoint",
    }
    install(cluster, binding, "legacyTokenMount=true")
    yield team
    cluster.helm("uninstall", "second", "--namespace", "wisp-second")


def install(cluster: Site, binding: dict[str, str], *settings: str) -> None:
    """Install the second webhook, or upgrade to it, with a custom token endpoint of these settings."""
    served = f"mutatingWebhookNamespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name={EXEMPT}"
    chosen = [f"customTokenEndpoint.{name}={value}" for name, value in binding.items()]
    usual = ("nativeSidecar=never", "replicaCount=1")
    cluster.install(served, *chosen, *usual, *settings, release="second", namespace="wisp-second")
    eventually(lambda: cluster.is_admitting(EXEMPT), "the second webhook's Service")


def test_without_native_sidecars_a_pod_does_not_end(team: Team) -> None:
    """Admission says so, and that is how it is: the application has its token and ends, the sidecar goes on."""
    early = container("early", "sh", "-c", f"{ASKS} || true")
    asks = container("app", "sh", "-c", ASKS)
    said = team.make(pod("once", asks, restartPolicy="Never", initContainers=[early]))
    assert [line for line in said.splitlines() if line.startswith("Warning: ")] == [
        "Warning: no native sidecars here: the pod will not end, as the sidecar does not (Jobs stay active)",
        "Warning: no native sidecars here: init containers get no token, as the sidecar starts after them",
        f"Warning: {BYPASS.format('app and 1 more')}",
    ]
    ended = "jsonpath={.status.containerStatuses[?(@.name=='app')].state.terminated.exitCode}=0"
    team.kubectl("wait", f"--for={ended}", "pod/once", "--timeout=300s")
    team.claims(heard(team.kubectl("logs", "once")))
    assert "curl: (7) Failed to connect to 169.254.169.254" in team.kubectl("logs", "once", "-c", "early")
    status = team.get("pod", "once")["status"]
    assert status["phase"] == "Running"
    assert {each["name"]: "running" in each["state"] for each in status["containerStatuses"]} == {
        "azwi-proxy": True,
        "app": False,
    }


def test_an_identity_binding_is_asked_in_the_place_of_entra(team: Team, endpoint: Listening) -> None:
    """The endpoint hears the pod's assertion, for its own audience, by its own name in TLS; Entra hears nothing."""
    before = team.exchanges()
    team.make(pod("bound", annotations=BOUND))
    team.ready("bound")
    answer = team.ask("bound")
    assert (answer.status, answer.answer["access_token"]) == (200, GRANTED)
    (asked,) = endpoint.asked
    assert asked.server_name == SNI_NAME
    assert asked.path == f"/bound/{team.identity.tenant_id}/oauth2/v2.0/token"
    form = parse_qs(asked.body.decode())
    assert form["client_id"] == [team.identity.client_id]
    claims = payload(form["client_assertion"][0])
    assert (claims["sub"], claims["aud"]) == (team.subject, [AUDIENCE])
    assert team.exchanges() == before


@pytest.mark.parametrize("mode", [{}, ENV_MODE], ids=["redirect", "env"])
def test_an_sdk_under_an_identity_binding(
    mode: dict[str, str], team: Team, endpoint: Listening, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the identity in the sidecar alone it gets the endpoint's token; Entra is asked by nobody."""
    sdk.load(team.site, tmp_path_factory.mktemp("sdk"))
    name = f"alone-{len(mode)}"
    before, asked = team.exchanges(), len(endpoint.asked)
    said = team.make(sdk.python_pod(name, {**PROXY_ONLY, **BINDING, **mode}))
    assert all("can bypass the redirect" in line for line in said.splitlines() if "Warning" in line)
    team.ready(name)
    assert team.run(name, "python3", "-c", CREDENTIAL).strip() == GRANTED
    assert len(endpoint.asked) > asked
    assert team.exchanges() == before
    environment = team.run(name, "env")
    own = {"AZURE_POD_IDENTITY_AUTHORITY_HOST"}
    assert {each.split("=")[0] for each in environment.splitlines() if each.startswith("AZURE_")} <= own
    mounts = team.run(name, "cat", "/proc/self/mountinfo")
    assert "/secrets/azure" not in mounts


def test_the_token_is_in_its_old_place_too(team: Team) -> None:
    """Older set-ups have that path written down; it is for the same audience, and a token of its own."""
    team.make(pod("old-fashioned", annotations={}))
    team.ready("old-fashioned")
    new, old = (team.service_account_claims("old-fashioned", file) for file in (TOKEN_FILE, OLD_TOKEN_FILE))
    assert (old["aud"], old["sub"]) == (new["aud"], new["sub"]) == (["api://AzureADTokenExchange"], team.subject)


@pytest.mark.parametrize("way", ["values", "variables"])
def test_the_endpoints_authorities_as_text(way: str, team: Team, endpoint: Listening) -> None:
    """By the names that azure-workload-identity has for value and variable: the sidecar trusts the endpoint by them."""
    named = {
        "azureKubernetesTokenProxy": ("AZURE_KUBERNETES_TOKEN_PROXY", f"{endpoint.url}/{way}"),
        "azureKubernetesSniName": ("AZURE_KUBERNETES_SNI_NAME", SNI_NAME),
        "azureKubernetesCaData": ("AZURE_KUBERNETES_CA_DATA", endpoint.ca),
    }
    binding, settings = {"annotationSuffix": "binding", "audience": AUDIENCE}, list[str]()
    if way == "values":
        binding |= {name: value for name, (_, value) in named.items()}
    else:
        for index, (name, value) in enumerate(named.values()):
            settings += [f"extraEnv[{index}].name={name}", f"extraEnv[{index}].value={value}"]
    install(team.site, binding, *settings)
    team.make(pod(way, annotations=BOUND))
    team.ready(way)
    answer = team.ask(way)
    assert (answer.status, answer.answer["access_token"]) == (200, GRANTED)
    assert endpoint.asked[-1].path.startswith(f"/{way}/")
