"""The node's files and programs: everything stays in the node's folder, and nodes on one machine do not meet."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from wisp_local.lab.node.configuration import PAUSE_IMAGE, Layout, config_files, parse_plan
from wisp_local.lab.node.network import DNS_SERVICE, DNS_USER, Network

LAYOUT = Layout(Path('/lab/a "node"'))
VALUES = {
    "kubernetes": "/bin/kubernetes",
    "coredns": "/bin/dns",
    "etcd": "/usr/bin/etcd",
    "containerd": "/usr/bin/containerd",
    "runtime": "/usr/bin/crun",
    "snapshotter": "native",
    "machine_addresses": "10.201.7.1, 192.0.2.2",
    "cgroup": "/wisp-node3",
    "issuer_url": "https://issuer.test/lab",
}
FILES = config_files(LAYOUT, Network(3), VALUES)
COMMANDS = {program.name: program.command for program in parse_plan(FILES["programs.toml"]).programs}


def test_containerd_stays_in_the_nodes_folder_and_runs_crun() -> None:
    """Whatever characters the folder's name has."""
    config = tomllib.loads(FILES["containerd.toml"])
    assert [config["root"], config["state"], config["grpc"]["address"]] == [
        str(LAYOUT.folder / name) for name in ("containerd/root", "containerd/state", "containerd.sock")
    ]
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == PAUSE_IMAGE
    assert cri["containerd"]["snapshotter"] == "native"
    assert cri["containerd"]["runtimes"]["crun"]["options"]["BinaryName"] == "/usr/bin/crun"


def test_pod_addresses_are_recorded_in_the_nodes_folder() -> None:
    """A second node gives the same addresses to its own pods."""
    (plugin,) = json.loads(FILES["cni/wisp.conflist"])["plugins"]
    assert plugin["ipam"]["dataDir"].startswith(str(LAYOUT.folder))


def test_kubelet_authenticates_clients_and_stays_in_its_folder_and_control_group() -> None:
    """The resolv.conf is the node's: for an empty one, containerd would take this machine's."""
    config = yaml.safe_load(FILES["kubelet.yaml"])
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["cgroupRoot"] == "/wisp-node3"
    assert config["podLogsDir"].startswith(str(LAYOUT.folder))
    assert config["clusterDNS"] == ["10.96.0.10"]
    assert config["resolvConf"] == str(LAYOUT.folder / "resolv.conf")


def test_kubeconfig_has_absolute_paths_and_the_nodes_address() -> None:
    """The administrator's, for example."""
    config = yaml.safe_load(FILES["admin.conf"])
    assert config["clusters"][0]["cluster"]["server"] == "https://10.201.3.2:6443"
    assert config["users"][0]["user"] == {
        "client-certificate": str(LAYOUT.pki / "admin.crt"),
        "client-key": str(LAYOUT.pki / "admin.key"),
    }


def test_programs_are_in_the_order_of_their_start() -> None:
    """The API server has the issuer of its tokens."""
    assert list(COMMANDS) == [
        "etcd",
        "containerd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "coredns",
    ]
    assert "--service-account-issuer=https://issuer.test/lab" in COMMANDS["kube-apiserver"]
    assert "--authorization-mode=Node,RBAC" in COMMANDS["kube-apiserver"]


@pytest.mark.parametrize("name", ["kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"])
def test_every_component_has_its_own_credentials(name: str) -> None:
    """So it can do only what the default roles of Kubernetes allow."""
    assert f"--kubeconfig={LAYOUT.kubeconfig(name)}" in COMMANDS[name]


def test_first_command_creates_the_objects() -> None:
    """It is not one of the programs, and does not wait for the API server."""
    first = parse_plan(FILES["programs.toml"]).first
    assert first.command[-1] == f"--filename={LAYOUT.folder / 'objects.yaml'}"
    assert not first.needs_api
    assert first.name not in COMMANDS


def test_coredns_listens_only_on_the_node() -> None:
    """Several nodes run on one machine. There is no server to forward to."""
    text = FILES["Corefile"]
    assert "bind 10.201.3.2\n" in text
    assert "ready 10.201.3.2:8181\n" in text
    assert "forward" not in text.partition("\n.:53")[2]


def test_dns_service_leads_to_the_node() -> None:
    """By UDP and TCP; the node's own resolv.conf names the node directly."""
    service, endpoints = (_object(kind) for kind in ("Service", "EndpointSlice"))
    assert service["spec"]["clusterIP"] == DNS_SERVICE
    assert [endpoint["addresses"] for endpoint in endpoints["endpoints"]] == [["10.201.3.2"]]
    assert [(port["port"], port["protocol"]) for port in endpoints["ports"]] == [(53, "UDP"), (53, "TCP")]
    assert service["spec"]["ports"] == endpoints["ports"]
    assert endpoints["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
    assert FILES["resolv.conf"] == "nameserver 10.201.3.2\n"


def test_coredns_may_read_only_what_it_answers_from() -> None:
    """It reads no Secrets and writes nothing."""
    role, binding = (_object(kind) for kind in ("ClusterRole", "ClusterRoleBinding"))
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {"services", "namespaces", "endpointslices"}
    assert binding["subjects"][0]["name"] == DNS_USER
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def _object(kind: str) -> Any:
    return next(item for item in yaml.safe_load(FILES["objects.yaml"])["items"] if item["kind"] == kind)


def test_pods_leave_under_the_nodes_address() -> None:
    """This machine has no route to pods."""
    assert 'ip saddr 10.244.0.0/16 oifname "node0" masquerade' in FILES["rules.nft"]


def test_packets_to_other_machines_are_rejected() -> None:
    """Only this machine's own addresses are reached; after a dropped packet, its sender would wait."""
    assert "elements = { 10.201.7.1, 192.0.2.2 }" in FILES["rules.nft"]
    assert 'oifname "node0" ip daddr != @machine reject' in FILES["rules.nft"]
