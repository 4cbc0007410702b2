"""What reading and deciding about a pod costs, beside decoding all of its review: `python -m bench.admission`.

Seconds of this process on a CPU, so that whatever else the machine does weighs on both alike. Each round times a
thousand of either in turn; the figures are medians of the rounds, and of the rounds' ratios.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec

from wisp.admission.policy import Policy
from wisp.admission.review import answer, decide, read_review, required_account

_ROUNDS, _TIMES = 25, 1000
_TOKEN = {"name": "kube-api-access", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
_ACCOUNT = {
    "metadata": {
        "name": "web",
        "annotations": {"azure.workload.identity/client-id": "6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1"},
    }
}
_POLICY = Policy(tenant_id="0f1e2d3c-0000-4000-8000-000000000001", server_version=(1, 34))


def _container(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": f"{name}:1.2",
        "env": [{"name": key, "value": "1"} for key in ("A", "B", "C")],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}, _TOKEN],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
        "imagePullPolicy": "IfNotPresent",
    }


def _review(*, sidecar: bool) -> bytes:
    """Return a review of a Deployment's pod: two containers and an init container, as an API server sends it."""
    annotations = {"azure.workload.identity/inject-proxy-sidecar": "true"} if sidecar else {"team": "a"}
    labels = {"app": "web", "azure.workload.identity/use": "true"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-7f9c6d5b4-", "labels": labels, "annotations": annotations},
        "spec": {
            "volumes": [{"name": "config", "configMap": {"name": "web"}}, {"name": _TOKEN["name"], "projected": {}}],
            "initContainers": [_container("migrate")],
            "containers": [_container("web"), _container("log")],
            "serviceAccountName": "web",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        },
    }
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    request = {"uid": "u", "kind": kind, "namespace": "web", "operation": "CREATE", "object": pod}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return msgspec.json.encode(review)


def _answer(body: bytes) -> bytes:
    asked = read_review(body)
    assert required_account(asked) is not None  # noqa: S101 -- else nothing is measured
    return msgspec.json.encode(answer(asked, decide(asked, _ACCOUNT, _POLICY)))


def _microseconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    for _ in range(_TIMES):
        work()
    return (time.process_time() - begun) / _TIMES * 1e6


def main() -> None:
    """Print the figures."""
    for name, sidecar in (("identity", False), ("identity and sidecar", True)):
        body = _review(sidecar=sidecar)
        rounds = [
            (_microseconds(lambda: msgspec.json.decode(body)), _microseconds(lambda: _answer(body)))  # noqa: B023
            for _ in range(_ROUNDS)
        ]
        decoding, deciding = (statistics.median(each) for each in zip(*rounds, strict=True))
        ratio = statistics.median(answered / decoded for decoded, answered in rounds)
        print(f"| {name} | {len(body):,} | {decoding:.0f} | {deciding:.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
