"""The webhook killed, moved and robbed of its certificates while labelled pods are made all the time.

Whatever happens, a pod that is admitted has its identity; none is refused but while no replica can serve; and it
recovers by itself.
"""

import os
import signal
from typing import Any

import pytest

from tests.cluster import processes
from tests.cluster.api import NO_ANSWER, api
from tests.cluster.identity import faults
from tests.cluster.site import NAMESPACE, Site, eventually
from tests.cluster.stream import NAMESPACE as STREAM
from tests.cluster.stream import Stream, account, gated, stream

pytestmark = pytest.mark.cluster
WEBHOOK = "mutation.wisp.azure.workload.identity"
HERE = ("-n", NAMESPACE)
LATE = "5f0d1c9e-0000-4000-8000-00000000000b"
UNTRUSTED = "certificate signed by unknown authority"
NO_CERTIFICATE = "tls: internal error"
"""What an API server says of a container that was started again and has no certificate yet (RFC 8446 §6.2)."""


def _pods(site: Site) -> list[dict[str, Any]]:
    return list(site.get("pods", *HERE)["items"])


def _settled(site: Site, replicas: int) -> None:
    """Wait until there are so many replicas, all of them ready, and no other is left."""
    site.kubectl("rollout", "status", "deployment/wisp", *HERE, "--timeout=300s")
    eventually(lambda: len(_pods(site)) == replicas, f"{replicas} pods")


GONE = ("EOF", "broken pipe", "connection re", "context deadline exceeded", "no endpoints", "no route to host")
"""What an API server says of a server that is gone: before it was called, while it was, or since it was last."""


def _strange(made: Stream, *reasons: str) -> set[tuple[int, str]]:
    """Return what was refused but not for want of the webhook, or for none of those reasons."""
    wanted = f'failed calling webhook "{WEBHOOK}"'
    usual = {each for each in made.refusals() if each[0] == 500 and wanted in each[1]}
    return made.refusals() - {each for each in usual if any(reason in each[1] for reason in reasons)}


def test_rolled(served: Site) -> None:
    """A new ReplicaSet takes over and no pod is refused."""
    before = {each["metadata"]["uid"] for each in _pods(served)}
    with stream(served) as made:
        served.kubectl("rollout", "restart", "deployment/wisp", *HERE)
        _settled(served, 2)
    assert made.wrong() == []
    assert made.refusals() == set()
    assert before.isdisjoint(each["metadata"]["uid"] for each in _pods(served))


def test_scaled(served: Site) -> None:
    """Replicas come and go and no pod is refused."""
    with stream(served) as made:
        for replicas in (3, 1, 2):
            served.kubectl("scale", "deployment/wisp", f"--replicas={replicas}", *HERE)
            _settled(served, replicas)
    assert made.wrong() == []
    assert made.refusals() == set()


def test_one_pod_killed(served: Site) -> None:
    """The other replica serves; what the killed one had under way may be lost, and nothing after."""
    with stream(served) as made:
        served.kubectl("delete", _name(served), "--force", "--grace-period=0", *HERE)
        _settled(served, 2)
    assert made.wrong() == []
    assert _strange(made, *GONE) == set()
    assert sum(each.answer.status != 201 for each in made.said) <= 6


def _name(site: Site) -> str:
    return f"pod/{_pods(site)[0]['metadata']['name']}"


def test_every_pod_killed(served: Site) -> None:
    """Until another is ready pods are refused, with a reason that names the webhook."""
    with stream(served) as made:
        served.kubectl("delete", "pods", "--all", "--force", "--grace-period=0", *HERE)
        made.until_refused()
        made.until_admitted()
        _settled(served, 2)
    assert made.wrong() == []
    assert _strange(made, *GONE) == set()


def test_every_process_killed(served: Site) -> None:
    """The containers are started again, and serve with the certificates that are there."""
    _settled(served, 2)
    bundle, begun = _bundle(served), _restarts(served)
    with stream(served) as made:
        for each in processes.ids(served.node, "webhook", "--health-port=9440"):
            os.kill(each, signal.SIGKILL)
        eventually(lambda: _restarts(served) == [1 + each for each in begun], "both containers to be started again")
        made.until_admitted()
        _settled(served, 2)
    assert made.wrong() == []
    assert _strange(made, *GONE, NO_CERTIFICATE) == set()
    assert _bundle(served) == bundle


def _restarts(site: Site) -> list[int]:
    return [each["status"]["containerStatuses"][0]["restartCount"] for each in _pods(site)]


def _bundle(site: Site) -> str:
    (webhook,) = site.get("mutatingwebhookconfiguration", "wisp")["webhooks"]
    return str(webhook["clientConfig"].get("caBundle", ""))


def _secret(site: Site) -> dict[str, str]:
    return dict(site.get("secret", "wisp-tls", *HERE).get("data") or {})


def test_certificates_taken_away(served: Site) -> None:
    """Emptied, the Secret is filled anew, and no pod is refused meanwhile: what was trusted stays so."""
    before = _secret(served)
    with stream(served) as made:
        served.kubectl("patch", "secret", "wisp-tls", *HERE, "--type=json", '-p=[{"op": "remove", "path": "/data"}]')
        eventually(lambda: "tls.crt" in _secret(served), "another certificate")
        eventually(lambda: _bundle(served) == _secret(served)["ca.crt"], "its authority to be trusted")
        made.until_admitted()
    assert made.wrong() == []
    assert made.refusals() == set()
    assert _secret(served)["tls.crt"] != before["tls.crt"]


def test_half_a_certificate(served: Site) -> None:
    """A key that is not the certificate's is never used; both are made anew."""
    key = _secret(served)["ca.key"]
    with stream(served) as made:
        served.kubectl("patch", "secret", "wisp-tls", *HERE, f'-p={{"data": {{"tls.key": "{key}"}}}}')
        eventually(lambda: _secret(served)["tls.key"] != key, "another certificate")
        eventually(lambda: _bundle(served) == _secret(served)["ca.crt"], "its authority to be trusted")
        made.until_admitted()
    assert made.wrong() == []
    assert made.refusals() == set()


def test_authority_taken_away(served: Site) -> None:
    """Nobody trusts the webhook until it has put its authority back, which it does on the watch's word."""
    bundle = _bundle(served)
    path = "/webhooks/0/clientConfig/caBundle"
    with stream(served) as made:
        removal = f'-p=[{{"op": "remove", "path": "{path}"}}]'
        served.kubectl("patch", "mutatingwebhookconfiguration", "wisp", "--type=json", removal)
        eventually(lambda: _bundle(served) == bundle, "the authority to be back")
        made.until_admitted()
    assert made.wrong() == []
    assert _strange(made, UNTRUSTED) == set()


def test_certificates_of_short_life(served: Site) -> None:
    """Three certificates of 36 seconds, by two authorities of 54, follow one another and no pod is refused."""
    lives = {"WISP_ADMISSION_CERTIFICATE_DAYS": 36 / 86400, "WISP_ADMISSION_AUTHORITY_DAYS": 54 / 86400}
    names = [f"extraEnv[{index}].name={name}" for index, name in enumerate(lives)]
    served.install(*names, *(f"extraEnv[{index}].value={life:.6f}" for index, life in enumerate(lives.values())))
    _settled(served, 2)  # those that end make certificates of a long life yet
    served.kubectl("patch", "secret", "wisp-tls", *HERE, "--type=json", '-p=[{"op": "remove", "path": "/data"}]')
    eventually(lambda: "tls.crt" in _secret(served), "the first certificate of a short life")
    certificates, authorities = set(), set()

    def followed() -> bool:
        kept = _secret(served)
        certificates.add(kept["tls.crt"])
        authorities.add(kept["ca.key"])
        return len(certificates) == 3 and _bundle(served) == kept["ca.crt"]

    with stream(served) as made:
        eventually(followed, "two rotations")
    assert made.wrong() == []
    assert made.refusals() == set()
    assert len(authorities) == 2


def test_api_server_killed(served: Site) -> None:
    """Another starts: no pod comes by without its identity, replicas go on, and hear of new accounts."""
    _settled(served, 2)
    begun = _restarts(served)
    with stream(served) as made:
        (api_server,) = processes.ids(served.node, "kube-apiserver")
        os.kill(api_server, signal.SIGKILL)
        made.until_refused()
        eventually(lambda: processes.ids(served.node, "kube-apiserver") != [], "another API server")
        made.until_admitted()
        eventually(lambda: served.try_kubectl("get", "--raw", "/readyz").returncode == 0, "the API server")
        served.apply(account("late", LATE))
        with api(served) as server:
            late = server.ask("POST", f"/api/v1/namespaces/{STREAM}/pods?dryRun=All", gated("late", "late"))
    assert made.wrong() == []
    assert {status for status, _ in made.refusals()} <= {NO_ANSWER, 403, 500, 503}
    assert faults(late.document, LATE) == []
    eventually(lambda: all(_is_ready(each) for each in _pods(served)), "replicas to be ready")
    assert _restarts(served) == begun


def _is_ready(pod: dict[str, Any]) -> bool:
    return {"type": "Ready", "status": "True"}.items() <= _condition(pod, "Ready").items()


def _condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(dict(each) for each in pod["status"]["conditions"] if each["type"] == kind)


def test_no_replica(served: Site) -> None:
    """Labelled pods are refused by a message that names the webhook, others are not; replicas come up all the same."""
    with stream(served) as made:
        served.kubectl("scale", "deployment/wisp", "--replicas=0", *HERE)
        eventually(lambda: _pods(served) == [], "the last replica to go")
        made.until_refused()
        refused = served.try_kubectl(
            "run", "labelled", "--image=wisp.test/pause:1", "-l=azure.workload.identity/use=true"
        )
        assert refused.returncode != 0
        assert f'failed calling webhook "{WEBHOOK}"' in refused.stderr
        for namespace in ("default", "kube-system"):
            served.kubectl("run", "unlabelled", "--image=wisp.test/pause:1", "-n", namespace)
            served.ready("unlabelled", namespace)
            served.kubectl("delete", "pod", "unlabelled", "-n", namespace, "--now", "--wait=false")
        served.kubectl("scale", "deployment/wisp", "--replicas=2", *HERE)
        _settled(served, 2)
    assert made.wrong() == []
    assert _strange(made, *GONE) == set()
