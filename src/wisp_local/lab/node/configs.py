"""The configuration files of a node's programs, as text; writes none of them.

JSON is YAML, and the programs take it, so what is not TOML is written as JSON.
"""

import json
from pathlib import Path

from wisp_local.lab.node.dns import DOMAIN
from wisp_local.lab.node.layout import Layout
from wisp_local.lab.node.network import DNS_SERVICE, POD_RANGE, Network

PAUSE = "wisp.test/pause:1"
"""The image of what holds a pod's namespaces."""
CNI_PLUGINS = "/usr/lib/cni"  # Debian's containernetworking-plugins


def containerd(layout: Layout, *, runtime: str, snapshotter: str) -> str:
    """Write containerd's configuration, version 2: containerd 1.6 reads it, and 2.x turns it into its own.

    `snapshotter` is `overlayfs`, or `native` where overlays cannot be stacked.
    """
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = {_quoted(layout.folder / "containerd/root")}
state = {_quoted(layout.folder / "containerd/state")}
[grpc]
address = {_quoted(layout.containerd)}
[ttrpc]
address = {_quoted(layout.folder / "containerd.ttrpc")}
[{cri}]
sandbox_image = "{PAUSE}"
disable_apparmor = true
restrict_oom_score_adj = true
[{cri}.cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = {_quoted(layout.folder / "cni")}
[{cri}.containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "crun"
[{cri}.containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.crun.options]
BinaryName = "{runtime}"
SystemdCgroup = false
"""


def cni(layout: Layout) -> str:
    """Write the network of pods: a veth pair each, and a route."""
    ipam = {
        "type": "host-local",
        "subnet": POD_RANGE,
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(layout.folder / "cni-addresses"),
    }
    return json.dumps({"cniVersion": "0.4.0", "name": "wisp", "plugins": [{"type": "ptp", "ipam": ipam}]})


def kubelet(layout: Layout, cgroup: str) -> str:
    """Write a KubeletConfiguration; pods are below the control group `cgroup`."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
                "webhook": {"enabled": True},
                "anonymous": {"enabled": False},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(layout.pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(layout.pki / "kubelet.key"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{layout.containerd}",
            "podLogsDir": str(layout.folder / "pod-logs"),
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": DOMAIN,
            "resolvConf": str(layout.resolver),
            "evictionHard": {"imagefs.available": "1%", "nodefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,  # images came by hand, and would not come again
            "localStorageCapacityIsolation": False,
            "makeIPTablesUtilChains": False,
            "enforceNodeAllocatable": [],
            "maxPods": 250,
            "shutdownGracePeriod": "0s",
        }
    )


def kubeconfig(layout: Layout, network: Network, name: str) -> str:
    """Write the credentials of `name`, a certificate of `wisp_local.lab.node.pki`."""
    user = {"client-certificate": str(layout.pki / f"{name}.crt"), "client-key": str(layout.pki / f"{name}.key")}
    cluster = {"server": network.api_server, "certificate-authority": str(layout.pki / "ca.crt")}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "wisp", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "wisp", "context": {"cluster": "wisp", "user": name}}],
            "current-context": "wisp",
        }
    )


def _quoted(path: Path) -> str:
    return json.dumps(str(path))
