"""The webhook is killed and moved, and loses its certificates, while labelled pods are created all the time.

In every case an admitted pod has its identity, no pod is rejected while a replica can serve, and the webhook recovers
by itself.
"""

import os
import signal
from typing import Any

import pytest

from tests.cluster import processes
from tests.cluster.api import NO_ANSWER, api
from tests.cluster.cluster import NAMESPACE, Cluster, eventually
from tests.cluster.identity import faults
from tests.cluster.stream import NAMESPACE as STREAM
from tests.cluster.stream import Stream, account, gated_pod, stream

pytestmark = pytest.mark.cluster
WEBHOOK = "mutation.wisp.azure.workload.identity"
HERE = ("-n", NAMESPACE)
LATE = "5f0d1c9e-0000-4000-8000-00000000000b"
UNTRUSTED = "certificate signed by unknown authority"
NO_CERTIFICATE = "tls: internal error"
"""The API server's error for a container that was restarted and has no certificate yet (RFC 8446 §6.2)."""


def _pods(cluster: Cluster) -> list[dict[str, Any]]:
    return list(cluster.get("pods", *HERE)["items"])


def _wait_for_replicas(cluster: Cluster, replicas: int) -> None:
    """Wait until there are exactly `replicas` pods, and all are ready."""
    cluster.kubectl("rollout", "status", "deployment/wisp", *HERE, "--timeout=300s")
    eventually(lambda: len(_pods(cluster)) == replicas, f"{replicas} pods")


GONE = ("EOF", "broken pipe", "connection re", "context deadline exceeded", "no endpoints", "no route to host")
"""The API server's errors for a server that has ended, at different moments of a call."""


def _unexpected(made: Stream, *reasons: str) -> set[tuple[int, str]]:
    """Return the rejections that are not failed calls of the webhook with one of these reasons."""
    problem = f'failed calling webhook "{WEBHOOK}"'
    usual = {rejection for rejection in made.rejections() if rejection[0] == 500 and problem in rejection[1]}
    return made.rejections() - {rejection for rejection in usual if any(reason in rejection[1] for reason in reasons)}


def test_rollout_rejects_no_pod(installed: Cluster) -> None:
    """A new ReplicaSet takes over."""
    before = {pod["metadata"]["uid"] for pod in _pods(installed)}
    with stream(installed) as made:
        installed.kubectl("rollout", "restart", "deployment/wisp", *HERE)
        _wait_for_replicas(installed, 2)
    assert made.faults() == []
    assert made.rejections() == set()
    assert before.isdisjoint(pod["metadata"]["uid"] for pod in _pods(installed))


def test_scaling_rejects_no_pod(installed: Cluster) -> None:
    """Replicas are added and removed."""
    with stream(installed) as made:
        for replicas in (3, 1, 2):
            installed.kubectl("scale", "deployment/wisp", f"--replicas={replicas}", *HERE)
            _wait_for_replicas(installed, replicas)
    assert made.faults() == []
    assert made.rejections() == set()


def test_other_replica_serves_after_one_was_killed(installed: Cluster) -> None:
    """Only requests that the killed one was serving may be lost."""
    with stream(installed) as made:
        installed.kubectl("delete", _name(installed), "--force", "--grace-period=0", *HERE)
        _wait_for_replicas(installed, 2)
    assert made.faults() == []
    assert _unexpected(made, *GONE) == set()
    assert sum(timed.answer.status != 201 for timed in made.answers) <= 6


def _name(cluster: Cluster) -> str:
    return f"pod/{_pods(cluster)[0]['metadata']['name']}"


def test_webhook_recovers_after_all_pods_were_killed(installed: Cluster) -> None:
    """Until another is ready, pods are rejected with a reason that names the webhook."""
    with stream(installed) as made:
        installed.kubectl("delete", "pods", "--all", "--force", "--grace-period=0", *HERE)
        made.wait_until_rejected()
        made.wait_until_admitted()
        _wait_for_replicas(installed, 2)
    assert made.faults() == []
    assert _unexpected(made, *GONE) == set()


def test_webhook_recovers_after_all_processes_were_killed(installed: Cluster) -> None:
    """The containers are restarted, and serve with the existing certificates."""
    _wait_for_replicas(installed, 2)
    bundle, begun = _bundle(installed), _restarts(installed)
    with stream(installed) as made:
        for pid in processes.process_ids(installed.node, "webhook", "--health-port=9440"):
            os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: _restarts(installed) == [1 + count for count in begun], "both containers to be started again"
        )
        made.wait_until_admitted()
        _wait_for_replicas(installed, 2)
    assert made.faults() == []
    assert _unexpected(made, *GONE, NO_CERTIFICATE) == set()
    assert _bundle(installed) == bundle


def _restarts(cluster: Cluster) -> list[int]:
    return [pod["status"]["containerStatuses"][0]["restartCount"] for pod in _pods(cluster)]


def _bundle(cluster: Cluster) -> str:
    (webhook,) = cluster.get("mutatingwebhookconfiguration", "wisp")["webhooks"]
    return str(webhook["clientConfig"].get("caBundle", ""))


def _secret(cluster: Cluster) -> dict[str, str]:
    return dict(cluster.get("secret", "wisp-tls", *HERE).get("data") or {})


def test_emptied_secret_is_filled_again(installed: Cluster) -> None:
    """No pod is rejected meanwhile: trusted CAs stay trusted."""
    before = _secret(installed)
    with stream(installed) as made:
        installed.kubectl("patch", "secret", "wisp-tls", *HERE, "--type=json", '-p=[{"op": "remove", "path": "/data"}]')
        eventually(lambda: "tls.crt" in _secret(installed), "another certificate")
        eventually(lambda: _bundle(installed) == _secret(installed)["ca.crt"], "its authority to be trusted")
        made.wait_until_admitted()
    assert made.faults() == []
    assert made.rejections() == set()
    assert _secret(installed)["tls.crt"] != before["tls.crt"]


def test_key_of_another_certificate_is_never_used(installed: Cluster) -> None:
    """Key and certificate are replaced."""
    key = _secret(installed)["ca.key"]
    with stream(installed) as made:
        installed.kubectl("patch", "secret", "wisp-tls", *HERE, f'-p={{"data": {{"tls.key": "{key}"}}}}')
        eventually(lambda: _secret(installed)["tls.key"] != key, "another certificate")
        eventually(lambda: _bundle(installed) == _secret(installed)["ca.crt"], "its authority to be trusted")
        made.wait_until_admitted()
    assert made.faults() == []
    assert made.rejections() == set()


def test_removed_ca_bundle_is_restored(installed: Cluster) -> None:
    """The webhook restores its CA when its watch reports the change."""
    bundle = _bundle(installed)
    path = "/webhooks/0/clientConfig/caBundle"
    with stream(installed) as made:
        removal = f'-p=[{{"op": "remove", "path": "{path}"}}]'
        installed.kubectl("patch", "mutatingwebhookconfiguration", "wisp", "--type=json", removal)
        eventually(lambda: _bundle(installed) == bundle, "the authority to be back")
        made.wait_until_admitted()
    assert made.faults() == []
    assert _unexpected(made, UNTRUSTED) == set()


def test_certificate_rotation_rejects_no_pod(installed: Cluster) -> None:
    """Three certificates of 36 seconds, by two CAs of 54 seconds, follow one another."""
    lives = {"WISP_ADMISSION_CERTIFICATE_DAYS": 36 / 86400, "WISP_ADMISSION_AUTHORITY_DAYS": 54 / 86400}
    names = [f"extraEnv[{index}].name={name}" for index, name in enumerate(lives)]
    installed.install(*names, *(f"extraEnv[{index}].value={life:.6f}" for index, life in enumerate(lives.values())))
    _wait_for_replicas(installed, 2)  # replicas that end still make certificates with a long lifetime
    installed.kubectl("patch", "secret", "wisp-tls", *HERE, "--type=json", '-p=[{"op": "remove", "path": "/data"}]')
    eventually(lambda: "tls.crt" in _secret(installed), "the first certificate of a short life")
    certificates, authorities = set(), set()

    def followed() -> bool:
        kept = _secret(installed)
        certificates.add(kept["tls.crt"])
        authorities.add(kept["ca.key"])
        return len(certificates) == 3 and _bundle(installed) == kept["ca.crt"]

    with stream(installed) as made:
        eventually(followed, "two rotations")
    assert made.faults() == []
    assert made.rejections() == set()
    assert len(authorities) == 2


def test_webhook_survives_a_restart_of_the_api_server(installed: Cluster) -> None:
    """No pod is created without its identity. Replicas keep running and see new service accounts."""
    _wait_for_replicas(installed, 2)
    begun = _restarts(installed)
    with stream(installed) as made:
        (api_server,) = processes.process_ids(installed.node, "kube-apiserver")
        os.kill(api_server, signal.SIGKILL)
        made.wait_until_rejected()
        eventually(lambda: processes.process_ids(installed.node, "kube-apiserver") != [], "another API server")
        made.wait_until_admitted()
        eventually(lambda: installed.try_kubectl("get", "--raw", "/readyz").returncode == 0, "the API server")
        installed.apply(account("late", LATE))
        with api(installed) as server:
            late = server.ask("POST", f"/api/v1/namespaces/{STREAM}/pods?dryRun=All", gated_pod("late", "late"))
    assert made.faults() == []
    assert {status for status, _ in made.rejections()} <= {NO_ANSWER, 403, 500, 503}
    assert faults(late.document, LATE) == []
    eventually(lambda: all(_is_ready(pod) for pod in _pods(installed)), "replicas to be ready")
    assert _restarts(installed) == begun


def _is_ready(pod: dict[str, Any]) -> bool:
    return {"type": "Ready", "status": "True"}.items() <= _condition(pod, "Ready").items()


def _condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(dict(condition) for condition in pod["status"]["conditions"] if condition["type"] == kind)


def test_only_labelled_pods_are_rejected_without_a_replica(installed: Cluster) -> None:
    """The message names the webhook. Replicas can still be created."""
    with stream(installed) as made:
        installed.kubectl("scale", "deployment/wisp", "--replicas=0", *HERE)
        eventually(lambda: _pods(installed) == [], "the last replica to go")
        made.wait_until_rejected()
        refused = installed.try_kubectl(
            "run", "labelled", "--image=wisp.test/pause:1", "-l=azure.workload.identity/use=true"
        )
        assert refused.returncode != 0
        assert f'failed calling webhook "{WEBHOOK}"' in refused.stderr
        for namespace in ("default", "kube-system"):
            installed.kubectl("run", "unlabelled", "--image=wisp.test/pause:1", "-n", namespace)
            installed.wait_until_ready("unlabelled", namespace)
            installed.kubectl("delete", "pod", "unlabelled", "-n", namespace, "--now", "--wait=false")
        installed.kubectl("scale", "deployment/wisp", "--replicas=2", *HERE)
        _wait_for_replicas(installed, 2)
    assert made.faults() == []
    assert _unexpected(made, *GONE) == set()
