"""Installation, upgrade and removal: replicas that start together, certificates that stay, and nothing left behind."""

import contextlib
import json
from typing import Any

import pytest
import yaml

from tests.chart import reference
from tests.chart.manifest import MANIFEST, TENANT
from tests.cluster.cluster import CHART, NAMESPACE, Cluster, eventually
from tests.cluster.inventory import inventory
from tests.cluster.stream import NAMESPACE as STREAM
from tests.cluster.stream import stream

pytestmark = pytest.mark.cluster
HERE = ("-n", NAMESPACE)
SECRET = ("secret", "wisp-tls", *HERE)
LABELLED = {"azure.workload.identity/use": "true"}


def _logged(cluster: Cluster) -> list[dict[str, Any]]:
    lines = cluster.kubectl("logs", *HERE, "-l", "app.kubernetes.io/name=wisp", "--tail=-1").splitlines()
    return [json.loads(line) for line in lines]


def _bundle(cluster: Cluster) -> str:
    (webhook,) = cluster.get("mutatingwebhookconfiguration", "wisp")["webhooks"]
    return str(webhook["clientConfig"]["caBundle"])


def test_replicas_that_start_together_make_one_ca(uninstalled: Cluster) -> None:
    """API servers trust it."""
    uninstalled.install()
    events = [entry["event"] for entry in _logged(uninstalled)]
    assert events.count("certificates issued") == 1
    assert events.count("certificate in use") == 2
    assert events.count("certificates not updated") == 0
    assert _bundle(uninstalled) == uninstalled.get(*SECRET)["data"]["ca.crt"]


def test_upgrade_keeps_the_certificates(installed: Cluster) -> None:
    """In Secret and configuration. No pod is rejected."""
    before = _bundle(installed), installed.get(*SECRET)["data"]
    with stream(installed) as made:
        installed.install("logLevel=debug")
    assert (_bundle(installed), installed.get(*SECRET)["data"]) == before
    assert made.faults() == []
    assert made.rejections() == set()


def test_certificates_are_restored_after_a_forced_upgrade(installed: Cluster) -> None:
    """Helm replaces the objects and so removes the certificates."""
    with stream(installed) as made:
        place = ("--namespace", NAMESPACE, "--reuse-values", "--force", "--wait", "--timeout=120s")
        installed.helm("upgrade", "wisp", str(CHART), *place, "--set", "logLevel=warning")
        made.wait_until_admitted()
        eventually(
            lambda: _bundle(installed) == installed.get(*SECRET)["data"]["ca.crt"], "the authority to be trusted"
        )
    assert made.faults() == []
    assert all("failed calling webhook" in text for _, text in made.rejections())


def test_helm_uninstall_leaves_nothing(uninstalled: Cluster) -> None:
    """Objects of all kinds are as before."""
    uninstalled.kubectl("create", "namespace", NAMESPACE)
    eventually(lambda: uninstalled.try_kubectl("get", "configmap/kube-root-ca.crt", *HERE).returncode == 0, "its CA")
    before = inventory(uninstalled)
    uninstalled.install("networkPolicy.enabled=true")
    with stream(uninstalled) as made:
        installed = inventory(uninstalled)
    uninstalled.kubectl("delete", "namespace", STREAM)
    uninstalled.helm("uninstall", "wisp", "--namespace", NAMESPACE, "--wait")
    assert made.faults() == []
    assert len({name for name in installed - before if "wisp" in name}) >= 12
    _assert_unchanged(uninstalled, before)


def _assert_unchanged(cluster: Cluster, before: set[str]) -> None:
    with contextlib.suppress(AssertionError):
        eventually(lambda: inventory(cluster) == before, "the last object to go")
    assert sorted(inventory(cluster) ^ before) == []


@pytest.mark.needs("go")
def test_values_file_of_azure_workload_identity_installs_wisp(uninstalled: Cluster) -> None:
    """With a tenant added, and the authority of the local cloud."""
    settings = (f"azureTenantID={uninstalled.tenant_id}", f"authorityHost={uninstalled.cloud.url}/")
    chosen = [word for setting in settings for word in ("--set", setting)]
    place = ("--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout=300s")
    output = uninstalled.helm(
        *("install", "wisp", str(CHART), *place, "--values", str(reference.values_file()), *chosen),
        *("--set-file", f"authorityCA={uninstalled.cloud.ca_file}"),
        timeout=330,
    )
    assert "which is azure-workload-identity's webhook" in output
    assert "resources.limits.memory is 30Mi" in output
    eventually(uninstalled.is_admitting, "the webhook's Service")
    with stream(uninstalled) as made:
        pass
    assert made.faults() == []
    assert {status["restartCount"] for status in _statuses(uninstalled)} == {0}


def _statuses(cluster: Cluster) -> list[dict[str, Any]]:
    pods = cluster.get("pods", *HERE)["items"]
    return [status for pod in pods for status in pod["status"]["containerStatuses"]]


def _manifest_for(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the plain manifest with the tenant and the authority of the local cloud."""
    documents = list(yaml.safe_load_all(MANIFEST.read_text().replace(TENANT, cluster.tenant_id)))
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container["args"] += [f"--authority-host={cluster.cloud.url}/", "--authority-ca=/authority/ca.crt"]
    container["volumeMounts"] = [{"name": "authority", "mountPath": "/authority"}]
    pod["volumes"] = [{"name": "authority", "configMap": {"name": "authority"}}]
    return documents


def test_plain_manifest_installs_wisp_and_leaves_nothing(uninstalled: Cluster) -> None:
    """It runs under Pod Security `restricted`, and pods get their identity."""
    before = inventory(uninstalled)
    namespace, *others = documents = _manifest_for(uninstalled)
    uninstalled.apply(namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    uninstalled.kubectl("create", "configmap", "authority", *HERE, f"--from-file=ca.crt={uninstalled.cloud.ca_file}")
    assert "would violate PodSecurity" not in uninstalled.apply(*others)
    uninstalled.kubectl("rollout", "status", "deployment/wisp", *HERE, "--timeout=300s")
    eventually(uninstalled.is_admitting, "the webhook's Service")
    with stream(uninstalled) as made:
        pass
    assert made.faults() == []
    text = "\n---\n".join(json.dumps(document) for document in reversed(documents))
    uninstalled.kubectl("delete", "-f", "-", given=text)
    uninstalled.kubectl("delete", "namespace", STREAM)
    _assert_unchanged(uninstalled, before)


def test_exempt_namespaces_are_skipped(installed: Cluster) -> None:
    """kube-system is not skipped unless it is one of them."""
    for namespace in ("apart", "kube-system"):
        installed.install(f"exemptNamespaces={{{namespace}}}")
        assert _is_mutated(installed, "apart") == (namespace != "apart")
        assert _is_mutated(installed, "kube-system") == (namespace != "kube-system")


def _is_mutated(cluster: Cluster, namespace: str) -> bool:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": namespace, "labels": LABELLED},
        "spec": {"containers": [{"name": "main", "image": "wisp.test/pause:1"}]},
    }
    eventually(
        lambda: cluster.try_kubectl("get", "serviceaccount/default", "-n", namespace).returncode == 0, "its account"
    )
    made = cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(pod))
    return "AZURE_TENANT_ID" in made
