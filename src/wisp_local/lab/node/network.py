"""The addresses of a node's network, and the commands that create it.

A node is a network namespace behind one veth pair. Several nodes can run on one machine: they differ by their number.
Pods and Services have the same addresses in every node; they cannot be reached from outside of it.
"""

from dataclasses import dataclass

POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
"""The Service `kubernetes`: the first address of the range."""
DNS_SERVICE = "10.96.0.10"
"""The Service `kube-dns`, at the address that kubeadm gives it."""
DNS_DOMAIN = "cluster.local"
DNS_USER = "system:coredns"
DNS_READY_PORT = 8181
"""The port at which CoreDNS answers on /ready, once it knows all Services."""
API_PORT = 6443
NODE = "node1"
DEVICE = "node0"
"""The node's end of the pair."""


@dataclass(frozen=True)
class Network:
    """The addresses of node `number` (0 to 254) and of this machine, at the two ends of the pair."""

    number: int

    @property
    def host(self) -> str:
        """This machine's address: pods reach here what listens on it."""
        return f"10.201.{self.number}.1"

    @property
    def node(self) -> str:
        """The node's address: this machine reaches the API server here."""
        return f"10.201.{self.number}.2"

    @property
    def device(self) -> str:
        """This machine's end of the pair."""
        return f"wisp{self.number}"

    @property
    def api_server(self) -> str:
        """The API server's URL, for this machine and for pods."""
        return f"https://{self.node}:{API_PORT}"


def template_values(network: Network) -> dict[str, str]:
    """Return the network's values in the templates of the node's files."""
    return {
        "node": network.node,
        "api_server": network.api_server,
        "api_port": str(API_PORT),
        "device": DEVICE,
        "node_name": NODE,
        "pod_range": POD_RANGE,
        "service_range": SERVICE_RANGE,
        "dns_service": DNS_SERVICE,
        "dns_domain": DNS_DOMAIN,
        "dns_ready_port": str(DNS_READY_PORT),
        "dns_user": DNS_USER,
    }


def host_batch(network: Network, node_path: str, owner: str) -> str:
    """Return the `ip -batch` commands for this machine's end of the pair.

    `node_path` is the path of the node's namespace. The device's alias is `owner`, the node's folder.
    """
    return (
        f"link add {network.device} type veth peer name {DEVICE} netns {node_path}\n"
        f'link set {network.device} alias "{owner}"\n'
        f"address add {network.host}/30 dev {network.device}\n"
        f"link set {network.device} up\n"
    )


def node_batch(network: Network) -> str:
    """Return the `ip -batch` commands for the node's end of the pair."""
    return (
        "link set lo up\n"
        f"address add {network.node}/30 dev {DEVICE}\n"
        f"link set {DEVICE} up\n"
        f"route add default via {network.host}\n"
    )
