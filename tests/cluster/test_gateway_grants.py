"""Grants in a real cluster: what RBAC allows after the printed command, `wisp gateway grant` and `revoke`."""

import json
import subprocess
import sys
from uuid import uuid4

import pytest

from tests.cluster.cluster import Cluster, eventually
from tests.cluster.gateway import shell
from wisp.gateway.grants import Grant, grant_command
from wisp.gateway.types import API_GROUP, VERB

pytestmark = pytest.mark.cluster

NAMESPACE = "grants"
OTHERS = ("other", NAMESPACE), ("app", "another")


def is_allowed(cluster: Cluster, client_id: str, account: str = "app", namespace: str = NAMESPACE) -> bool:
    """Ask what the gateway asks. `kubectl auth can-i` cannot: it drops the API group of resources it does not know."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": {"verb": VERB, "group": API_GROUP, "resource": client_id},
        },
    }
    printed = cluster.kubectl("create", "-f", "-", "-o", "jsonpath={.status.allowed}", given=json.dumps(review))
    return printed == "true"


def wisp(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `wisp gateway` with the administrator's kubeconfig."""
    return subprocess.run(
        [sys.executable, "-m", "wisp", "gateway", *arguments, "--kubeconfig", str(cluster.node.kubeconfig)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def wait_until_allowed(cluster: Cluster, client_id: str, account: str = "app", namespace: str = NAMESPACE) -> None:
    """Wait until the API server's authorizer knows a grant."""
    eventually(lambda: is_allowed(cluster, client_id, account, namespace), "the grant")


def wait_until_denied(cluster: Cluster, client_id: str, account: str = "app", namespace: str = NAMESPACE) -> None:
    """Wait until the API server's authorizer knows that a grant is gone."""
    eventually(lambda: not is_allowed(cluster, client_id, account, namespace), "the end of the grant")


@pytest.fixture(name="client_id")
def _client_id() -> str:
    return str(uuid4())


def test_printed_command_grants_one_identity_to_one_service_account(cluster: Cluster, client_id: str) -> None:
    """`wisp gateway list` shows it, and `revoke` removes it."""
    assert not is_allowed(cluster, client_id)
    shell(cluster, grant_command(client_id, NAMESPACE, "app"))
    wait_until_allowed(cluster, client_id)
    assert not any(is_allowed(cluster, client_id, *other) for other in OTHERS)
    assert not is_allowed(cluster, str(uuid4()))
    shown = json.loads(wisp(cluster, "list", "--client-id", client_id, "-o", "json").stdout)["grants"]
    assert [(grant["subject"]["name"], grant["managed"]) for grant in shown if grant["clientId"] == client_id] == [
        ("app", True)
    ]
    same = wisp(cluster, "grant", "--client-id", client_id, "--service-account", f"{NAMESPACE}/app")
    assert same.stdout.count("unchanged") == 2, same
    done = wisp(cluster, "revoke", "--client-id", client_id, "--service-account", f"{NAMESPACE}/app")
    assert (done.returncode, done.stdout.count("deleted")) == (0, 2), done
    wait_until_denied(cluster, client_id)
    name = Grant(client_id, NAMESPACE, "app").name
    for kind in ("clusterrole", "clusterrolebinding"):
        assert cluster.try_kubectl("get", kind, name).returncode != 0


@pytest.mark.parametrize(
    "subject, options, allowed",
    [
        ((NAMESPACE,), ("--namespace", NAMESPACE), [("app", NAMESPACE), ("other", NAMESPACE)]),
        ((), ("--all",), [("app", NAMESPACE), ("app", "another")]),
    ],
    ids=["namespace", "all"],
)
@pytest.mark.parametrize("is_printed", [False, True], ids=["wisp gateway grant", "printed command"])
def test_grant_to_a_group_is_for_each_of_its_service_accounts(
    cluster: Cluster,
    client_id: str,
    *,
    subject: tuple[str, ...],
    options: tuple[str, ...],
    allowed: list[tuple[str, str]],
    is_printed: bool,
) -> None:
    if is_printed:
        shell(cluster, grant_command(client_id, *subject))
    else:
        done = wisp(cluster, "grant", "--client-id", client_id, *options)
        assert done.returncode == 0, done
    for account in allowed:
        wait_until_allowed(cluster, client_id, *account)
    assert is_allowed(cluster, client_id, "app", "another") is (not subject)
    done = wisp(cluster, "revoke", "--client-id", client_id, *options)
    assert done.returncode == 0, done
    for account in allowed:
        wait_until_denied(cluster, client_id, *account)


def test_manifests_of_a_dry_run_can_be_applied(cluster: Cluster, client_id: str) -> None:
    """`grant` then finds nothing to do."""
    options = ("--client-id", client_id, "--service-account", f"{NAMESPACE}/app")
    for form in ("yaml", "json"):
        cluster.kubectl("apply", "-f", "-", given=wisp(cluster, "grant", *options, "--dry-run", "-o", form).stdout)
        wait_until_allowed(cluster, client_id)
        assert wisp(cluster, "grant", *options).stdout.count("unchanged") == 2
        cluster.kubectl("delete", "-f", "-", given=wisp(cluster, "revoke", *options, "--dry-run", "-o", form).stdout)
        wait_until_denied(cluster, client_id)


def test_revoke_warns_of_a_role_that_was_written_by_hand(cluster: Cluster, client_id: str) -> None:
    """It is how AKS' documentation grants identities. The service account may still use the identity."""
    rule = {"apiGroups": [API_GROUP], "resources": [client_id], "verbs": [VERB]}
    name = f"by-hand-{client_id}"
    cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [rule],
        }
    )
    cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", f"--serviceaccount={NAMESPACE}:app")
    options = ("--client-id", client_id, "--service-account", f"{NAMESPACE}/app")
    assert wisp(cluster, "grant", *options).returncode == 0
    done = wisp(cluster, "revoke", *options)
    assert done.returncode == 0
    assert f"ClusterRoleBinding {name} still grants {client_id} to ServiceAccount {NAMESPACE}/app" in done.stderr
    assert is_allowed(cluster, client_id)
    cluster.kubectl("delete", "clusterrolebinding,clusterrole", name)
