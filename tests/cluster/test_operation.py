"""The installed webhook as who runs it sees it: what it counts, what it may do, and under which rules it runs."""

import re
import time
from typing import Any

import pytest

from tests.cluster.site import NAMESPACE, Site

pytestmark = pytest.mark.cluster
USER = f"system:serviceaccount:{NAMESPACE}:wisp"
GRANTED = {
    "serviceaccounts": ((), {"get", "list", "watch"}),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": (("wisp",), {"get", "list", "watch", "patch"}),
    "secrets": (("wisp-tls",), {"get", "list", "watch", "update"}),
}
"""What docs/reference/webhook.md and docs/how-to/install.md say it may do: resource, names and verbs."""


def _pods(site: Site) -> list[dict[str, Any]]:
    return list(site.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=wisp")["items"])


def _metrics(site: Site) -> dict[str, float]:
    """Return the sums of all replicas' metrics, read from their metrics ports."""
    sums: dict[str, float] = {}
    for pod in _pods(site):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:9440/proxy/metrics"
        for line in site.kubectl("get", "--raw", path).splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def test_metrics(cluster: Site) -> None:
    """Each review is counted by its result, and when the certificate ends is told."""
    before = _metrics(cluster)
    for _ in range(3):
        assert cluster.is_admitting()
    after = _metrics(cluster)
    changed = 'wisp_webhook_reviews_total{result="changed"}'
    assert after[changed] - before[changed] == 3
    assert after["wisp_webhook_review_seconds_count"] - before["wisp_webhook_review_seconds_count"] == 3
    assert after["wisp_webhook_ready"] == 2
    days = (after["wisp_webhook_certificate_expiry_timestamp_seconds"] / 2 - time.time()) / 86400
    assert 80 < days <= 90
    assert after["wisp_webhook_accounts"] >= 2 * len(cluster.get("namespaces")["items"])
    for failures in ("certificate_failures_total", "account_lookup_failures_total"):
        assert after[f"wisp_webhook_{failures}"] == 0


def test_rights(cluster: Site) -> None:
    """Its service account may do what is documented, and beyond that what every authenticated client may."""
    everyones = _rules(cluster, "system:serviceaccount:default:nobody", "default")
    extra = {each: verbs for each, verbs in _rules(cluster, USER, NAMESPACE).items() if everyones.get(each) != verbs}
    assert extra == {(resource, names): verbs for resource, (names, verbs) in GRANTED.items()}
    elsewhere = {
        each: verbs for each, verbs in _rules(cluster, USER, "default").items() if everyones.get(each) != verbs
    }
    assert sorted(resource for resource, _ in elsewhere) == sorted(set(GRANTED) - {"secrets"})


def _rules(site: Site, user: str, namespace: str) -> dict[tuple[str, tuple[str, ...]], set[str]]:
    """Return what a user may do in a namespace: verbs by resource, or path, and names."""
    groups = ("--as-group=system:serviceaccounts", "--as-group=system:authenticated")
    listed = site.kubectl("auth", "can-i", "--list", "-n", namespace, f"--as={user}", *groups, "--no-headers")
    rules: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for line in listed.splitlines():
        paths, names, verbs = (part.split() for part in re.findall(r"\[(.*?)\]", line))
        resource = line.partition(" ")[0] or " ".join(paths)
        rules.setdefault((resource, tuple(names)), set()).update(verbs)
    return rules


def test_its_pods_are_restricted(cluster: Site) -> None:
    """Pod Security would take them under its strictest level, in the version of the day."""
    labels = ("pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/enforce-version=latest")
    said = cluster.try_kubectl("label", "--dry-run=server", "--overwrite", "namespace", NAMESPACE, *labels)
    assert said.returncode == 0
    assert "violate" not in said.stderr
    for pod in _pods(cluster):
        assert pod["status"]["qosClass"] == "Burstable"
        assert pod["spec"]["priorityClassName"] == "system-cluster-critical"
