"""What people do with pods, and what kubectl tells them."""

import json

import pytest

from tests.cluster.manifests import PREFIX, SIDECAR, account, container, pod
from tests.cluster.site import Site
from tests.cluster.team import Team, settle
from wisp.admission.advice import BYPASS

pytestmark = pytest.mark.cluster
SAYS = ("sh", "-c", "echo the application; exec sleep infinity")
VARIABLES = ("sh", "-c", "env | grep -c ^AZURE_ || true")


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site) -> Team:
    skipping = {**SIDECAR, f"{PREFIX}skip-containers": " other ; absent"}
    return settle(
        cluster,
        "habits",
        pod("app", container("app", *SAYS)),
        pod("partly", container("app"), container("other"), annotations=skipping),
    )


def test_kubectl_means_the_applications_container(team: Team) -> None:
    """`kubectl logs` and `kubectl exec` without -c reach it, and say nothing of there being others."""
    team.ready("app")
    for arguments in (("logs", "app"), ("exec", "app", "--", "echo", "the application")):
        done = team.site.try_kubectl("-n", team.namespace, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "the application\n", "")


def test_a_skipped_container_has_no_identity_of_its_own(team: Team) -> None:
    """It has neither variables nor the token's volume; the metadata service answers it, as it does the whole pod."""
    team.ready("partly")
    assert team.run("partly", *VARIABLES, container="app") == "4\n"
    assert team.run("partly", *VARIABLES, container="other") == "0\n"
    assert team.run("partly", "ls", "/var/run/secrets/azure/wi/token", container="app") == "azure-identity-token\n"
    there = team.run("partly", "sh", "-c", "ls -d /var/run/secrets/azure || true", container="other")
    assert there == ""
    team.claims(team.ask("partly", container="other"))


def test_the_nodes_network_is_refused(team: Team) -> None:
    """The message says why, and what to leave out; without the sidecar the pod may be made."""
    said = team.refused(pod("host", hostNetwork=True))
    assert 'admission webhook "mutation.wisp.azure.workload.identity" denied the request: the pod uses the node' in said
    assert "leave out hostNetwork or the annotation azure.workload.identity/inject-proxy-sidecar" in said
    team.make(pod("host", annotations={}, hostNetwork=True))
    team.ready("host")


def test_a_static_pods_mirror_is_let_by(team: Team) -> None:
    """An API server takes no service account token in one: with ours in it, nobody could see the static pod."""
    mirror = pod("static", annotations={**SIDECAR, "kubernetes.io/config.mirror": "5b0e5c8f"}, nodeName="node1")
    del mirror["spec"]["serviceAccountName"]
    asked = ("create", "-n", team.namespace, "--dry-run=server", "-o", "name", "-f", "-")
    assert team.site.kubectl(*asked, given=json.dumps(mirror)) == "pod/static\n"


def test_a_missing_account_is_named(team: Team) -> None:
    """Who makes pod and service account in the wrong order, or misspells it, hears which one is not there."""
    said = team.refused(pod("orphan", serviceAccountName="ap"))
    assert "serviceaccount" in said.lower()
    assert '"ap" not found' in said


def test_kubectl_prints_the_warnings(team: Team) -> None:
    """Each mistake is a line of its own; the pod is made all the same."""
    team.make(account("wi-demo-identity", "unsure"))
    wrong = {f"{PREFIX}inject-proxy-sidecar": "false", f"{PREFIX}skip-containers": "absent", f"{PREFIX}client-id": "x"}
    said = team.make(pod("warned", annotations=wrong, serviceAccountName="unsure")).splitlines()
    assert [line.removeprefix("Warning: ") for line in said if line.startswith("Warning: ")] == [
        'client-id "wi-demo-identity" of the service account is no GUID: give the identity\'s clientId, not its name',
        "skip-containers names absent, which the pod has not",
        'inject-proxy-sidecar is "false": no sidecar (azure-workload-identity takes any value for yes)',
        "the annotation client-id belongs on the service account: on a pod it means nothing",
    ]
    assert "pod/warned created" in said


def test_a_container_that_can_bypass_the_redirect(team: Team) -> None:
    """The pod is made, and kubectl prints which container it is."""
    assert f"Warning: {BYPASS.format('app')}" in team.make(pod("root", container("app", *SAYS)))
    confined = container("app", *SAYS, securityContext={"capabilities": {"drop": ["ALL"]}})
    assert "Warning" not in team.make(pod("confined", confined))


def test_a_thousand_containers(team: Team) -> None:
    """So many are admitted, as a trial; of one more, kubectl says that it is too many and what to do."""
    crowd = pod("crowd", *(container(f"app-{number}") for number in range(1000)))
    crowd["metadata"]["namespace"] = team.namespace
    trial = ("create", "--dry-run=server", "-f", "-")
    done = team.site.try_kubectl(*trial, given=json.dumps(crowd))
    assert done.returncode == 0, done.stderr
    crowd["spec"]["containers"].append(container("one-more"))
    assert (
        "the pod has 1,001 containers and init containers, and at most 1,000 are accepted in a pod with the label "
        "azure.workload.identity/use: use fewer containers, or remove the label"
    ) in team.refused(crowd)


def test_an_account_without_a_client_id(team: Team) -> None:
    """Admission warns of it, and the application hears `Identity not found` unless it names an identity."""
    team.make({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bare"}})
    said = team.make(pod("bare", serviceAccountName="bare"))
    assert "Warning: the service account bare has no annotation client-id: requests must name an identity" in said
    team.ready("bare")
    assert team.ask("bare").answer["error_description"].startswith("Identity not found")
