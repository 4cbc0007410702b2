"""Which programs make a node, each with its whole command line; starts none of them.

Flags that ask for what a test cluster does not need, or that keep it from touching this machine, say why.
"""

from dataclasses import dataclass
from pathlib import Path

from wisp_local.lab.node.layout import Layout
from wisp_local.lab.node.network import API_PORT, NODE, POD_RANGE, SERVICE_RANGE, Network

KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")


@dataclass(frozen=True)
class Program:
    """A program of the node: it is started again when it ends.

    `needs_api`: it is started once the API server has answered, because until then it would only wait and retry, with
    pauses of seconds.
    """

    name: str
    command: tuple[str, ...]
    needs_api: bool = False


@dataclass(frozen=True)
class Binaries:
    """The folders of the programs that are built from source: those of Kubernetes, and CoreDNS."""

    kubernetes: Path
    coredns: Path

    @property
    def kubectl(self) -> Path:
        """The command line client, in the version of the node."""
        return self.kubernetes / "kubectl"


@dataclass(frozen=True)
class Sources:
    """Where the programs are: those built from source in `binaries`, the others by their paths."""

    binaries: Binaries
    etcd: str
    containerd: str


def programs(sources: Sources, layout: Layout, network: Network, issuer_url: str) -> tuple[Program, ...]:
    """Return them in the order in which they are started; service account tokens are `issuer_url`'s."""
    return (
        Program("etcd", _etcd(sources, layout)),
        Program("containerd", (sources.containerd, "--config", str(layout.folder / "containerd.toml"))),
        Program("kube-apiserver", _api_server(sources, layout, network, issuer_url)),
        Program("kube-controller-manager", _controller_manager(sources, layout), needs_api=True),
        Program("kube-scheduler", _scheduler(sources, layout), needs_api=True),
        Program("kube-proxy", _proxy(sources, layout, network), needs_api=True),
        Program("kubelet", _kubelet(sources, layout, network), needs_api=True),
        Program("coredns", (str(sources.binaries.coredns / "coredns"), "-conf", str(layout.corefile)), needs_api=True),
    )


def first_objects(sources: Sources, layout: Layout) -> Program:
    """Return the command that creates the cluster's first objects. It fails until the API server answers."""
    apply = ("apply", f"--kubeconfig={layout.kubeconfig('admin')}", f"--filename={layout.objects}")
    return Program("first-objects", (str(sources.binaries.kubectl), *apply))


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
        str(sources.binaries.kubernetes / "kube-apiserver"),
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
        "--kube-api-qps=1000",  # each controller asks for a token first, and with the default they take four seconds
        "--kube-api-burst=1000",
        "--leader-elect=false",
    )


def _scheduler(sources: Sources, layout: Layout) -> tuple[str, ...]:
    return _with_kubeconfig(sources, layout, "kube-scheduler", "--leader-elect=false")


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
    return (str(sources.binaries.kubernetes / name), f"--kubeconfig={layout.kubeconfig(name)}", *flags)
