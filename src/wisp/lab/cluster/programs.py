"""Which programs make a node, each with its whole command line; starts none of them.

Flags that ask for what a test cluster does not need, or that keep it from touching this machine, say why.
"""

from dataclasses import dataclass
from pathlib import Path

from wisp.lab.cluster.layout import Layout
from wisp.lab.cluster.network import API_PORT, NODE, POD_RANGE, SERVICE_RANGE, Network

KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")


@dataclass(frozen=True)
class Program:
    """A program of the node: it is started again when it ends."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """Where the programs are: Kubernetes' own in `binaries`, the others by their paths."""

    binaries: Path
    etcd: str
    containerd: str


def programs(sources: Sources, layout: Layout, network: Network, issuer_url: str) -> tuple[Program, ...]:
    """Return them in the order in which they are started; service account tokens are `issuer_url`'s."""
    return (
        Program("etcd", _etcd(sources, layout)),
        Program("containerd", (sources.containerd, "--config", str(layout.folder / "containerd.toml"))),
        Program("kube-apiserver", _api_server(sources, layout, network, issuer_url)),
        Program("kube-controller-manager", _controller_manager(sources, layout)),
        Program("kube-scheduler", _with_kubeconfig(sources, layout, "kube-scheduler", "--leader-elect=false")),
        Program("kube-proxy", _proxy(sources, layout, network)),
        Program("kubelet", _kubelet(sources, layout, network)),
    )


def _etcd(sources: Sources, layout: Layout) -> tuple[str, ...]:
    return (
        sources.etcd,
        f"--data-dir={layout.folder / 'etcd'}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # the cluster is gone when this machine is
    )


def _api_server(sources: Sources, layout: Layout, network: Network, issuer_url: str) -> tuple[str, ...]:
    pki = layout.pki
    return (
        str(sources.binaries / "kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--secure-port={API_PORT}",
        f"--advertise-address={network.node}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--service-account-issuer={issuer_url}",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--max-requests-inflight=0",  # priority and fairness take a second to come up
        "--max-mutating-requests-inflight=0",
        "--enable-priority-and-fairness=false",
    )


def _controller_manager(sources: Sources, layout: Layout) -> tuple[str, ...]:
    return _with_kubeconfig(
        sources,
        layout,
        "kube-controller-manager",
        f"--service-account-private-key-file={layout.pki / 'service-accounts.key'}",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
    )


def _proxy(sources: Sources, layout: Layout, network: Network) -> tuple[str, ...]:
    return _with_kubeconfig(
        sources,
        layout,
        "kube-proxy",
        "--proxy-mode=nftables",
        f"--cluster-cidr={POD_RANGE}",
        f"--hostname-override={NODE}",
        "--conntrack-max-per-core=0",  # that is the machine's, not the namespace's
        f"--nodeport-addresses={network.node}/32",
    )


def _kubelet(sources: Sources, layout: Layout, network: Network) -> tuple[str, ...]:
    return _with_kubeconfig(
        sources,
        layout,
        "kubelet",
        f"--config={layout.folder / 'kubelet.json'}",
        f"--hostname-override={NODE}",
        f"--node-ip={network.node}",
        f"--root-dir={layout.folder / 'kubelet'}",
        f"--cert-dir={layout.folder / 'kubelet-certificates'}",
    )


def _with_kubeconfig(sources: Sources, layout: Layout, name: str, *flags: str) -> tuple[str, ...]:
    return (str(sources.binaries / name), f"--kubeconfig={layout.kubeconfig(name)}", *flags)
