"""A namespace under Pod Security `restricted`: variables instead of interception."""

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import ENV_MODE, RESTRICTED, container, pod
from tests.cluster.team import Team, curl, make_team, parse_response

pytestmark = pytest.mark.cluster
OWN = container("app", securityContext=RESTRICTED)
ASKS = '"$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://management.azure.com/"'


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster) -> Team:
    enforced = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return make_team(cluster, "restricted", labels=enforced)


def _ask(header: str) -> str:
    """Return a shell command that sends the request of an SDK in env mode."""
    return " ".join(f"'{word}'" for word in curl("", "-H")[:-1]) + f" {header} {ASKS}"


def test_restricted_pod_gets_its_token_by_variables(team: Team) -> None:
    """There is no warning. The request of App Service's clients gets the token; without the header it fails."""
    output = team.make(pod("app", OWN, annotations=ENV_MODE))
    assert "Warning" not in output
    team.wait_until_ready("app")
    assert [container["name"] for container in team.get("pod", "app")["spec"]["initContainers"]] == ["azwi-proxy"]
    right = parse_response(team.run("app", "sh", "-c", _ask('"X-IDENTITY-HEADER: $IDENTITY_HEADER"')))
    claims = team.claims(right)
    assert claims["aud"] == "https://management.azure.com/"
    wrong = parse_response(team.run("app", "sh", "-c", _ask('"X-IDENTITY-HEADER: not $IDENTITY_HEADER"')))
    assert (wrong.status, wrong.document["error"]) == (401, "unauthorized")


def test_interception_is_rejected_under_restricted(team: Team) -> None:
    """Because of one capability of one container, and nothing else of ours."""
    output = team.rejection(pod("intercepted", OWN))
    assert 'violates PodSecurity "restricted:latest"' in output
    assert 'container "azwi-proxy-init" must not include "NET_ADMIN" in securityContext.capabilities.add' in output
    assert '"azwi-proxy"' not in output
    assert '"app"' not in output


def test_only_the_capability_is_rejected_under_baseline(cluster: Cluster) -> None:
    """Pod Security `baseline` accepts the pod without interception."""
    team = make_team(cluster, "baseline", labels={"pod-security.kubernetes.io/enforce": "baseline"})
    output = team.rejection(pod("intercepted"))
    assert (
        'violates PodSecurity "baseline:latest": non-default capabilities '
        '(container "azwi-proxy-init" must not include "NET_ADMIN" in securityContext.capabilities.add)'
    ) in output
    assert "Warning" not in team.make(pod("env-mode", annotations=ENV_MODE))
