"""The node's configuration files say where everything is, and keep its programs off this machine's own folders."""

import json
import tomllib
from pathlib import Path

import pytest

from wisp_local.lab.node import configs
from wisp_local.lab.node.layout import Layout
from wisp_local.lab.node.network import Network
from wisp_local.lab.node.programs import Binaries, Sources, programs

LAYOUT = Layout(Path('/lab/a "node"'))
NETWORK = Network(3)
SOURCES = Sources(Binaries(Path("/bin/kubernetes"), Path("/bin/dns")), "/usr/bin/etcd", "/usr/bin/containerd")


def test_containerd() -> None:
    """Its folders are the node's, whatever that is called; its runtime is crun."""
    told = tomllib.loads(configs.containerd(LAYOUT, runtime="/usr/bin/crun", snapshotter="native"))
    assert [told["root"], told["state"], told["grpc"]["address"]] == [
        str(LAYOUT.folder / each) for each in ("containerd/root", "containerd/state", "containerd.sock")
    ]
    cri = told["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == configs.PAUSE
    assert cri["containerd"]["snapshotter"] == "native"
    assert cri["containerd"]["runtimes"]["crun"]["options"]["BinaryName"] == "/usr/bin/crun"


def test_pods_addresses_are_kept_in_the_nodes_folder() -> None:
    """A second node gives the same addresses, to other pods."""
    (plugin,) = json.loads(configs.cni(LAYOUT))["plugins"]
    assert plugin["ipam"]["dataDir"].startswith(str(LAYOUT.folder))


def test_kubelet() -> None:
    """It asks who is asking, and keeps to its folder and its control group."""
    told = json.loads(configs.kubelet(LAYOUT, "/wisp-node3"))
    assert told["authentication"]["anonymous"] == {"enabled": False}
    assert told["cgroupRoot"] == "/wisp-node3"
    assert told["podLogsDir"].startswith(str(LAYOUT.folder))
    assert told["clusterDNS"] == ["10.96.0.10"]
    assert told["resolvConf"] == str(LAYOUT.folder / "resolv.conf")  # an empty one has containerd take this machine's


def test_kubeconfig() -> None:
    """It names files that are there, by absolute paths, and the API server by the node's address."""
    told = json.loads(configs.kubeconfig(LAYOUT, NETWORK, "admin"))
    assert told["clusters"][0]["cluster"]["server"] == "https://10.201.3.2:6443"
    user = told["users"][0]["user"]
    assert user == {
        "client-certificate": str(LAYOUT.pki / "admin.crt"),
        "client-key": str(LAYOUT.pki / "admin.key"),
    }


def test_programs() -> None:
    """All of them have their flags; tokens are of the issuer that was asked for."""
    wanted = {each.name: each.command for each in programs(SOURCES, LAYOUT, NETWORK, "https://issuer.test/lab")}
    assert list(wanted) == [
        "etcd",
        "containerd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "coredns",
    ]
    assert "--service-account-issuer=https://issuer.test/lab" in wanted["kube-apiserver"]
    assert "--authorization-mode=Node,RBAC" in wanted["kube-apiserver"]


@pytest.mark.parametrize("name", ["kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"])
def test_components_are_who_they_are(name: str) -> None:
    """Each has its own credentials, and only what Kubernetes' default roles give it."""
    wanted = {each.name: each.command for each in programs(SOURCES, LAYOUT, NETWORK, "https://issuer.test/lab")}
    assert f"--kubeconfig={LAYOUT.kubeconfig(name)}" in wanted[name]
