"""A namespace under Pod Security `restricted`: variables in place of interception."""

import pytest

from tests.cluster.manifests import ENV_MODE, RESTRICTED, container, pod
from tests.cluster.site import Site
from tests.cluster.team import Team, curl, heard, settle

pytestmark = pytest.mark.cluster
OWN = container("app", securityContext=RESTRICTED)
ASKS = '"$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://management.azure.com/"'


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site) -> Team:
    enforced = {f"pod-security.kubernetes.io/{each}": "restricted" for each in ("enforce", "warn")}
    return settle(cluster, "restricted", labels=enforced)


def _ask(header: str) -> str:
    """Return a shell's command that asks as an SDK does that was told by variables."""
    return " ".join(f"'{each}'" for each in curl("", "-H")[:-1]) + f" {header} {ASKS}"


def test_a_restricted_pod_gets_its_token_by_variables(team: Team) -> None:
    """Neither warned of nor refused; what App Service's clients do gives the token, and without the header nothing."""
    said = team.make(pod("app", OWN, annotations=ENV_MODE))
    assert "Warning" not in said
    team.ready("app")
    assert [each["name"] for each in team.get("pod", "app")["spec"]["initContainers"]] == ["azwi-proxy"]
    right = heard(team.run("app", "sh", "-c", _ask('"X-IDENTITY-HEADER: $IDENTITY_HEADER"')))
    claims = team.claims(right)
    assert claims["aud"] == "https://management.azure.com/"
    wrong = heard(team.run("app", "sh", "-c", _ask('"X-IDENTITY-HEADER: not $IDENTITY_HEADER"')))
    assert (wrong.status, wrong.answer["error"]) == (401, "unauthorized")


def test_interception_is_refused_there(team: Team) -> None:
    """Pod Security says which container it is, and which capability; nothing else of ours offends."""
    said = team.refused(pod("intercepted", OWN))
    assert 'violates PodSecurity "restricted:latest"' in said
    assert 'container "azwi-proxy-init" must not include "NET_ADMIN" in securityContext.capabilities.add' in said
    assert '"azwi-proxy"' not in said
    assert '"app"' not in said


def test_the_capability_alone_is_refused_under_baseline(cluster: Site) -> None:
    """Pod Security `baseline` minds nothing of ours but NET_ADMIN, and takes the pod without interception."""
    team = settle(cluster, "baseline", labels={"pod-security.kubernetes.io/enforce": "baseline"})
    said = team.refused(pod("intercepted"))
    assert (
        'violates PodSecurity "baseline:latest": non-default capabilities '
        '(container "azwi-proxy-init" must not include "NET_ADMIN" in securityContext.capabilities.add)'
    ) in said
    assert "Warning" not in team.make(pod("told", annotations=ENV_MODE))
