"""The installed webhook for its operator: metrics, permissions and Pod Security."""

import re
import time
from typing import Any

import pytest

from tests.cluster.cluster import NAMESPACE, Cluster

pytestmark = pytest.mark.cluster
USER = f"system:serviceaccount:{NAMESPACE}:wisp"
GRANTED = {
    "serviceaccounts": ((), {"get", "list", "watch"}),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": (("wisp",), {"get", "list", "watch", "patch"}),
    "secrets": (("wisp-tls",), {"get", "list", "watch", "update"}),
}
"""The permissions in docs/reference/webhook.md and docs/how-to/install.md: resource, names and verbs."""


def _pods(cluster: Cluster) -> list[dict[str, Any]]:
    return list(cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=wisp")["items"])


def _metrics(cluster: Cluster) -> dict[str, float]:
    """Return the sums of all replicas' metrics, read from their metrics ports."""
    sums: dict[str, float] = {}
    for pod in _pods(cluster):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:9440/proxy/metrics"
        for line in cluster.kubectl("get", "--raw", path).splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def test_metrics_count_reviews_and_report_the_certificates_expiry(cluster: Cluster) -> None:
    """Reviews are counted by their results."""
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


def test_service_account_has_only_the_documented_permissions(cluster: Cluster) -> None:
    """In addition to those of all authenticated clients."""
    common = _rules(cluster, "system:serviceaccount:default:nobody", "default")
    extra = {rule: verbs for rule, verbs in _rules(cluster, USER, NAMESPACE).items() if common.get(rule) != verbs}
    assert extra == {(resource, names): verbs for resource, (names, verbs) in GRANTED.items()}
    other = {rule: verbs for rule, verbs in _rules(cluster, USER, "default").items() if common.get(rule) != verbs}
    assert sorted(resource for resource, _ in other) == sorted(set(GRANTED) - {"secrets"})


def _rules(cluster: Cluster, user: str, namespace: str) -> dict[tuple[str, tuple[str, ...]], set[str]]:
    """Return the verbs that a user may use in a namespace, by resource or path and names."""
    groups = ("--as-group=system:serviceaccounts", "--as-group=system:authenticated")
    listed = cluster.kubectl("auth", "can-i", "--list", "-n", namespace, f"--as={user}", *groups, "--no-headers")
    rules: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for line in listed.splitlines():
        paths, names, verbs = (part.split() for part in re.findall(r"\[(.*?)\]", line))
        resource = line.partition(" ")[0] or " ".join(paths)
        rules.setdefault((resource, tuple(names)), set()).update(verbs)
    return rules


def test_webhook_pods_meet_pod_security_restricted(cluster: Cluster) -> None:
    """The strictest level in its latest version."""
    labels = ("pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/enforce-version=latest")
    result = cluster.try_kubectl("label", "--dry-run=server", "--overwrite", "namespace", NAMESPACE, *labels)
    assert result.returncode == 0
    assert "violate" not in result.stderr
    for pod in _pods(cluster):
        assert pod["status"]["qosClass"] == "Burstable"
        assert pod["spec"]["priorityClassName"] == "system-cluster-critical"
