"""An installation of its own for one namespace: no native sidecars, a custom token endpoint, the token's old place."""

from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest

from tests.cluster.https import Asked, Listening, listening
from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, container, pod
from tests.cluster.site import EXEMPT, Site, eventually
from tests.cluster.team import TOKEN, TOKEN_FILE, Team, curl, heard, payload, settle

pytestmark = pytest.mark.cluster
OLD_TOKEN_FILE = "/var/run/secrets/azure/tokens/azure-identity-token"
SNI_NAME = "endpoint.wisp.test"
AUDIENCE = "api://wisp.test/binding"
GRANTED = "what-the-endpoint-grants"
ASKS = " ".join(f"'{each}'" for each in curl(TOKEN, "-H", "Metadata:true"))
BOUND = {**SIDECAR, f"{PREFIX}use-binding": "true"}


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
    served = f"mutatingWebhookNamespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name={EXEMPT}"
    settings = [f"customTokenEndpoint.{name}={value}" for name, value in binding.items()]
    release = {"release": "second", "namespace": "wisp-second"}
    settings += ["nativeSidecar=never", "replicaCount=1", "legacyTokenMount=true"]
    cluster.install(served, *settings, **release)
    eventually(lambda: cluster.is_admitting(EXEMPT), "the second webhook's Service")
    yield team
    cluster.helm("uninstall", release["release"], "--namespace", release["namespace"])


def test_without_native_sidecars_a_pod_does_not_end(team: Team) -> None:
    """Admission says so, and that is how it is: the application has its token and ends, the sidecar goes on."""
    early = container("early", "sh", "-c", f"{ASKS} || true")
    asks = container("app", "sh", "-c", ASKS)
    said = team.make(pod("once", asks, restartPolicy="Never", initContainers=[early]))
    assert [line for line in said.splitlines() if line.startswith("Warning: ")] == [
        "Warning: no native sidecars here: the pod will not end, as the sidecar does not (Jobs stay active)",
        "Warning: no native sidecars here: init containers get no token, as the sidecar starts after them",
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


def test_the_token_is_in_its_old_place_too(team: Team) -> None:
    """Older set-ups have that path written down; it is for the same audience, and a token of its own."""
    team.make(pod("old-fashioned", annotations={}))
    team.ready("old-fashioned")
    new, old = (team.service_account_claims("old-fashioned", file) for file in (TOKEN_FILE, OLD_TOKEN_FILE))
    assert (old["aud"], old["sub"]) == (new["aud"], new["sub"]) == (["api://AzureADTokenExchange"], team.subject)
