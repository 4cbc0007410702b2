"""Common uses of kubectl with pods that have the sidecar, and the messages that it prints."""

import json

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import PREFIX, SIDECAR, account, container, pod
from tests.cluster.team import Team, make_team
from wisp.admission.warnings import BYPASS

pytestmark = pytest.mark.cluster
SAYS = ("sh", "-c", "echo the application; exec sleep infinity")
VARIABLES = ("sh", "-c", "env | grep -c ^AZURE_ || true")


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster) -> Team:
    skipping = {**SIDECAR, f"{PREFIX}skip-containers": " other ; absent"}
    return make_team(
        cluster,
        "kubectl",
        pod("app", container("app", *SAYS)),
        pod("partly", container("app"), container("other"), annotations=skipping),
    )


def test_kubectl_uses_the_applications_container(team: Team) -> None:
    """`kubectl logs` and `kubectl exec` without -c use it, and mention no other container."""
    team.wait_until_ready("app")
    for arguments in (("logs", "app"), ("exec", "app", "--", "echo", "the application")):
        done = team.cluster.try_kubectl("-n", team.namespace, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "the application\n", "")


def test_skipped_container_gets_no_identity(team: Team) -> None:
    """It has neither variables nor the token's volume. The metadata service answers it as the whole pod."""
    team.wait_until_ready("partly")
    assert team.run("partly", *VARIABLES, container="app") == "4\n"
    assert team.run("partly", *VARIABLES, container="other") == "0\n"
    assert team.run("partly", "ls", "/var/run/secrets/azure/wi/token", container="app") == "azure-identity-token\n"
    mount = team.run("partly", "sh", "-c", "ls -d /var/run/secrets/azure || true", container="other")
    assert mount == ""
    team.claims(team.ask("partly", container="other"))


def test_pod_in_the_nodes_network_is_rejected(team: Team) -> None:
    """The message says why, and what to leave out. Without the sidecar the pod is created."""
    output = team.rejection(pod("host", hostNetwork=True))
    assert (
        'admission webhook "mutation.wisp.azure.workload.identity" denied the request: the pod uses the node' in output
    )
    assert "leave out hostNetwork or the annotation azure.workload.identity/inject-proxy-sidecar" in output
    team.make(pod("host", annotations={}, hostNetwork=True))
    team.wait_until_ready("host")


def test_mirror_of_a_static_pod_is_left_unchanged(team: Team) -> None:
    """An API server accepts no service account token in it: with ours, nobody could see the static pod."""
    mirror = pod("static", annotations={**SIDECAR, "kubernetes.io/config.mirror": "5b0e5c8f"}, nodeName="node1")
    del mirror["spec"]["serviceAccountName"]
    create = ("create", "-n", team.namespace, "--dry-run=server", "-o", "name", "-f", "-")
    assert team.cluster.kubectl(*create, given=json.dumps(mirror)) == "pod/static\n"


def test_missing_service_account_is_named(team: Team) -> None:
    """For a misspelt name, or a pod that is created before its service account."""
    output = team.rejection(pod("orphan", serviceAccountName="ap"))
    assert "serviceaccount" in output.lower()
    assert '"ap" not found' in output


def test_kubectl_prints_every_warning(team: Team) -> None:
    """Every mistake is a line, and the pod is created."""
    team.make(account("wi-demo-identity", "unsure"))
    wrong = {f"{PREFIX}inject-proxy-sidecar": "false", f"{PREFIX}skip-containers": "absent", f"{PREFIX}client-id": "x"}
    output = team.make(pod("warned", annotations=wrong, serviceAccountName="unsure")).splitlines()
    assert [line.removeprefix("Warning: ") for line in output if line.startswith("Warning: ")] == [
        (
            'client-id "wi-demo-identity" of the service account is not a GUID: '
            "give the identity's clientId, not its name"
        ),
        "skip-containers names absent, which is not a container of the pod",
        'inject-proxy-sidecar is "false": no sidecar (azure-workload-identity reads any value as yes)',
        "the annotation client-id belongs on the service account: it has no effect on the pod",
    ]
    assert "pod/warned created" in output


def test_kubectl_names_a_container_that_can_bypass_the_redirect(team: Team) -> None:
    """The pod is created."""
    assert f"Warning: {BYPASS.format('app')}" in team.make(pod("root", container("app", *SAYS)))
    confined = container("app", *SAYS, securityContext={"capabilities": {"drop": ["ALL"]}})
    assert "Warning" not in team.make(pod("confined", confined))


def test_pod_with_more_than_a_thousand_containers_is_rejected(team: Team) -> None:
    """A thousand are admitted in a dry run. For one more, the message says what to do."""
    crowd = pod("crowd", *(container(f"app-{number}") for number in range(1000)))
    crowd["metadata"]["namespace"] = team.namespace
    trial = ("create", "--dry-run=server", "-f", "-")
    done = team.cluster.try_kubectl(*trial, given=json.dumps(crowd))
    assert done.returncode == 0, done.stderr
    crowd["spec"]["containers"].append(container("one-more"))
    assert (
        "the pod has 1,001 containers and init containers, and at most 1,000 are accepted in a pod with the label "
        "azure.workload.identity/use: use fewer containers, or remove the label"
    ) in team.rejection(crowd)


def test_service_account_without_a_client_id_is_warned_of(team: Team) -> None:
    """The application gets `Identity not found` unless it names an identity."""
    team.make({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bare"}})
    output = team.make(pod("bare", serviceAccountName="bare"))
    assert "Warning: the service account bare has no annotation client-id: requests must name an identity" in output
    team.wait_until_ready("bare")
    assert team.ask("bare").document["error_description"].startswith("Identity not found")
