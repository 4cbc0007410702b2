"""Installed, upgraded and uninstalled: two replicas that come at once, what upgrades leave alone, and nothing left."""

import contextlib
import json
from typing import Any

import pytest
import yaml

from tests.chart import reference
from tests.chart.manifest import MANIFEST, TENANT
from tests.cluster.inventory import inventory
from tests.cluster.site import CHART, NAMESPACE, Site, eventually
from tests.cluster.stream import NAMESPACE as STREAM
from tests.cluster.stream import stream

pytestmark = pytest.mark.cluster
HERE = ("-n", NAMESPACE)
SECRET = ("secret", "wisp-tls", *HERE)
LABELLED = {"azure.workload.identity/use": "true"}


def _logged(site: Site) -> list[dict[str, Any]]:
    lines = site.kubectl("logs", *HERE, "-l", "app.kubernetes.io/name=wisp", "--tail=-1").splitlines()
    return [json.loads(each) for each in lines]


def _bundle(site: Site) -> str:
    (webhook,) = site.get("mutatingwebhookconfiguration", "wisp")["webhooks"]
    return str(webhook["clientConfig"]["caBundle"])


def test_two_replicas_at_once(unserved: Site) -> None:
    """They make one CA between them, and it is what API servers trust."""
    unserved.install()
    events = [each["event"] for each in _logged(unserved)]
    assert events.count("certificates made") == 1
    assert events.count("certificate in use") == 2
    assert events.count("certificates not kept") == 0
    assert _bundle(unserved) == unserved.get(*SECRET)["data"]["ca.crt"]


def test_an_upgrade_leaves_the_certificates(served: Site) -> None:
    """What the webhook has put into Secret and configuration stays, and no pod is refused."""
    before = _bundle(served), served.get(*SECRET)["data"]
    with stream(served) as made:
        served.install("logLevel=debug")
    assert (_bundle(served), served.get(*SECRET)["data"]) == before
    assert made.wrong() == []
    assert made.refusals() == set()


def test_a_forced_upgrade(served: Site) -> None:
    """Objects are replaced and the certificates gone: the webhook puts both back."""
    with stream(served) as made:
        place = ("--namespace", NAMESPACE, "--reuse-values", "--force", "--wait", "--timeout=120s")
        served.helm("upgrade", "wisp", str(CHART), *place, "--set", "logLevel=warning")
        made.until_admitted()
        eventually(lambda: _bundle(served) == served.get(*SECRET)["data"]["ca.crt"], "the authority to be trusted")
    assert made.wrong() == []
    assert all("failed calling webhook" in text for _, text in made.refusals())


def test_uninstalled_by_helm(unserved: Site) -> None:
    """Every object is as it was before, whatever its kind."""
    unserved.kubectl("create", "namespace", NAMESPACE)
    eventually(lambda: unserved.try_kubectl("get", "configmap/kube-root-ca.crt", *HERE).returncode == 0, "its CA")
    before = inventory(unserved)
    unserved.install("networkPolicy.enabled=true")
    with stream(unserved) as made:
        installed = inventory(unserved)
    unserved.kubectl("delete", "namespace", STREAM)
    unserved.helm("uninstall", "wisp", "--namespace", NAMESPACE, "--wait")
    assert made.wrong() == []
    assert len({each for each in installed - before if "wisp" in each}) >= 12
    _is_as_it_was(unserved, before)


def _is_as_it_was(site: Site, before: set[str]) -> None:
    with contextlib.suppress(AssertionError):
        eventually(lambda: inventory(site) == before, "the last object to go")
    assert sorted(inventory(site) ^ before) == []


@pytest.mark.needs("go")
def test_the_values_of_azure_workload_identity(unserved: Site) -> None:
    """The values.yaml that its chart ships installs wisp, with a tenant (and an authority, since this is no Azure)."""
    settings = (f"azureTenantID={unserved.tenant_id}", f"authorityHost={unserved.cloud.url}/")
    chosen = [word for each in settings for word in ("--set", each)]
    place = ("--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout=300s")
    said = unserved.helm(
        *("install", "wisp", str(CHART), *place, "--values", str(reference.values_file()), *chosen),
        *("--set-file", f"authorityCA={unserved.cloud.ca_file}"),
        timeout=330,
    )
    assert "which is azure-workload-identity's webhook" in said
    assert "resources.limits.memory is 30Mi" in said
    eventually(unserved.is_admitting, "the webhook's Service")
    with stream(unserved) as made:
        pass
    assert made.wrong() == []
    assert {each["restartCount"] for each in _statuses(unserved)} == {0}


def _statuses(site: Site) -> list[dict[str, Any]]:
    pods = site.get("pods", *HERE)["items"]
    return [status for pod in pods for status in pod["status"]["containerStatuses"]]


def _told(site: Site) -> list[dict[str, Any]]:
    """Return the plain manifest with its tenant and the authority of the local cloud filled in."""
    documents = list(yaml.safe_load_all(MANIFEST.read_text().replace(TENANT, site.tenant_id)))
    (deployment,) = (each for each in documents if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container["args"] += [f"--authority-host={site.cloud.url}/", "--authority-ca=/authority/ca.crt"]
    container["volumeMounts"] = [{"name": "authority", "mountPath": "/authority"}]
    pod["volumes"] = [{"name": "authority", "configMap": {"name": "authority"}}]
    return documents


def test_the_plain_manifest(unserved: Site) -> None:
    """It serves, under Pod Security restricted, gives pods tokens, and leaves nothing either."""
    before = inventory(unserved)
    namespace, *others = documents = _told(unserved)
    unserved.apply(namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    unserved.kubectl("create", "configmap", "authority", *HERE, f"--from-file=ca.crt={unserved.cloud.ca_file}")
    assert "would violate PodSecurity" not in unserved.apply(*others)
    unserved.kubectl("rollout", "status", "deployment/wisp", *HERE, "--timeout=300s")
    eventually(unserved.is_admitting, "the webhook's Service")
    with stream(unserved) as made:
        pass
    assert made.wrong() == []
    text = "\n---\n".join(json.dumps(each) for each in reversed(documents))
    unserved.kubectl("delete", "-f", "-", given=text)
    unserved.kubectl("delete", "namespace", STREAM)
    _is_as_it_was(unserved, before)


def test_exempt_namespaces(served: Site) -> None:
    """Labelled pods of those are let by; kube-system is served unless it is among them."""
    for each in ("apart", "kube-system"):
        served.install(f"exemptNamespaces={{{each}}}")
        assert _is_served(served, "apart") == (each != "apart")
        assert _is_served(served, "kube-system") == (each != "kube-system")


def _is_served(site: Site, namespace: str) -> bool:
    site.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": namespace, "labels": LABELLED},
        "spec": {"containers": [{"name": "main", "image": "wisp.test/pause:1"}]},
    }
    eventually(
        lambda: site.try_kubectl("get", "serviceaccount/default", "-n", namespace).returncode == 0, "its account"
    )
    made = site.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(pod))
    return "AZURE_TENANT_ID" in made
