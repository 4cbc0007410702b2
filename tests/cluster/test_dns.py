"""The cluster DNS, by lookups of programs in pods, and connections that cannot succeed.

Nothing waits for a timeout: the error is the answer of a server, or a rejection.
"""

import secrets
import socket
import struct
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, eventually

pytestmark = pytest.mark.cluster
_NAMESPACE = "named"
_DENIED = 3  # NXDOMAIN (RFC 1035, 4.1.1)
_TYPES = {"A": 1, "PTR": 12, "AAAA": 28, "SRV": 33}
_POLICIES: dict[str, dict[str, Any]] = {
    "cluster-first": {},
    "default": {"dnsPolicy": "Default"},
    "on-the-host": {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True},
    "none": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]}},
}


@pytest.fixture(name="named", scope="module")
def _named(cluster: Cluster) -> Cluster:
    """Make a namespace with a Service, a headless Service, and a pod per policy."""
    pods = [_pod(name, policy) for name, policy in _POLICIES.items()]
    ports = [{"name": "web", "port": 80, "targetPort": 8080}]
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        _service("plain", {"selector": {"app": "default"}, "ports": ports}),
        _service("headless", {"selector": {"app": "default"}, "clusterIP": "None", "ports": ports}),
        *pods,
    )
    for name in _POLICIES:
        cluster.wait_until_ready(name, _NAMESPACE)
    return cluster


def _pod(name: str, policy: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "main", "image": "ubuntu:20.04", "command": ["sleep", "36000"]}
    metadata = {"name": name, "namespace": _NAMESPACE, "labels": {"app": name}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, **policy}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _service(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": _NAMESPACE}, "spec": spec}


def _address(cluster: Cluster, kind: str, name: str, path: str) -> str:
    return cluster.kubectl("get", kind, name, "-n", _NAMESPACE, "-o", f"jsonpath={{{path}}}")


def _in(cluster: Cluster, pod: str, command: str) -> str:
    return cluster.kubectl("exec", pod, "-n", _NAMESPACE, "--", "bash", "-c", command)


@pytest.mark.parametrize("pod", ["cluster-first", "on-the-host"])
def test_services_are_found_by_their_names(named: Cluster, pod: str) -> None:
    """In their own namespace, from another, and in full. The API server is found by its name."""
    address = _address(named, "service", "plain", ".spec.clusterIP")
    for name in ("plain", f"plain.{_NAMESPACE}", f"plain.{_NAMESPACE}.svc", f"plain.{_NAMESPACE}.svc.cluster.local"):
        assert _in(named, pod, f"until getent ahostsv4 {name}; do sleep 0.1; done").startswith(f"{address} ")
    assert _in(named, pod, "getent ahostsv4 kubernetes.default").startswith("10.96.0.1 ")
    assert _in(named, pod, "curl -sk https://kubernetes.default/healthz") == "ok"


def test_headless_service_resolves_to_its_pods(named: Cluster) -> None:
    """By UDP and TCP, ports by SRV, and names by PTR. That there is no IPv6 address is an answer."""
    pod = _address(named, "pod", "default", ".status.podIP")
    name = f"headless.{_NAMESPACE}.svc.cluster.local"
    packed = socket.inet_aton(pod)
    eventually(lambda: packed in _lookup(named, name)[1], "the pod to be an endpoint")
    for tcp in (False, True):
        code, answer = _lookup(named, name, tcp=tcp)
        assert (code, packed in answer) == (0, True)
    assert _lookup(named, name, "AAAA")[0] == 0
    code, answer = _lookup(named, f"_web._tcp.{name}", "SRV")
    assert (code, struct.pack("!H", 8080) in answer) == (0, True)
    reverse = ".".join(reversed(pod.split("."))) + ".in-addr.arpa"
    code, answer = _lookup(named, reverse, "PTR")
    assert (code, b"headless" in answer) == (0, True)


@pytest.mark.parametrize("name", ["login.microsoftonline.com", "nowhere", f"nothing.{_NAMESPACE}.svc.cluster.local"])
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_other_names_do_not_exist(named: Cluster, name: str, kind: str) -> None:
    """There is no server to forward to, so this is the answer by UDP and TCP."""
    for tcp in (False, True):
        assert _lookup(named, name, kind, tcp=tcp)[0] == _DENIED
    assert _lookup(named, "9.2.0.192.in-addr.arpa", "PTR")[0] == _DENIED


@pytest.mark.parametrize("pod", _POLICIES)
def test_impossible_lookups_and_connections_fail_at_once(named: Cluster, pod: str) -> None:
    """With any policy, and for any address: outside, a Service or pod that does not exist, a port that is not served.

    For a timeout, curl's status would be 28.
    """
    asking = "curl -sS -m 120 -o /dev/null"
    assert "Could not resolve host" in _in(named, pod, f"{asking} http://login.microsoftonline.com/ 2>&1 || true")
    for host in ("192.0.2.9", "8.8.8.8", "10.96.200.200", "10.96.0.1:81", "10.244.200.200"):
        assert _in(named, pod, f"{asking} http://{host}/ 2>/dev/null || echo $?").strip() == "7", host


def test_pods_reach_this_machine(named: Cluster) -> None:
    """By all its addresses: the local Entra listens on one of them."""
    status = _in(named, "cluster-first", f"curl -sk -o /dev/null -w '%{{http_code}}' {named.cloud.url}/healthz")
    assert status == "200"


def test_missing_image_is_reported_at_once(named: Cluster) -> None:
    """The container runtime reaches no registry."""
    named.kubectl("run", "pulling", "-n", _NAMESPACE, "--image=nowhere.example/app:1")
    eventually(lambda: "ErrImagePull" in named.kubectl("get", "events", "-n", _NAMESPACE), "the pull to fail")


def _lookup(cluster: Cluster, name: str, kind: str = "A", *, tcp: bool = False) -> tuple[int, bytes]:
    """Ask the cluster DNS; return the code and the whole message of its answer (RFC 1035, 4)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    number = secrets.randbelow(1 << 16)
    query = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", _TYPES[kind], 1)
    with socket.socket(type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as connection:
        connection.settimeout(60)
        connection.connect((cluster.node.network.node, 53))
        connection.send(struct.pack("!H", len(query)) + query if tcp else query)
        answer = connection.recv(4096)[2 if tcp else 0 :]
    found, flags = struct.unpack_from("!2H", answer)
    assert found == number
    return flags & 0xF, answer
