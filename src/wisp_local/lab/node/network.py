"""Where a node's network is, as addresses; makes none of it.

A node is a network namespace behind one veth pair, so several can be on one machine: they differ by their number. What
is within, pods and Services, has the same addresses in each and is seen from nowhere else.
"""

from collections.abc import Iterable
from dataclasses import dataclass

POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
"""The Service `kubernetes`: the first address of the range."""
DNS_SERVICE = "10.96.0.10"
"""The Service `kube-dns`, at the address that kubeadm gives it."""
API_PORT = 6443
NODE = "node1"
DEVICE = "node0"
"""The node's end of the pair."""


@dataclass(frozen=True)
class Network:
    """The pair's two addresses, for the node called by `number`, 0 to 254."""

    number: int

    @property
    def host(self) -> str:
        """This machine's address, where pods find what listens here."""
        return f"10.201.{self.number}.1"

    @property
    def node(self) -> str:
        """The node's address, where this machine finds its API server."""
        return f"10.201.{self.number}.2"

    @property
    def device(self) -> str:
        """This machine's end of the pair."""
        return f"wisp{self.number}"

    @property
    def api_server(self) -> str:
        """The API server's URL, from here and from pods."""
        return f"https://{self.node}:{API_PORT}"


def host_batch(network: Network, node_path: str, owner: str) -> str:
    """Write this machine's half for `ip -batch`; `node_path` is where the node's namespace is found.

    `owner` is said of the device: whoever finds it learns whose it is.
    """
    return (
        f"link add {network.device} type veth peer name {DEVICE} netns {node_path}\n"
        f'link set {network.device} alias "{owner}"\n'
        f"address add {network.host}/30 dev {network.device}\n"
        f"link set {network.device} up\n"
    )


def node_batch(network: Network) -> str:
    """Write the node's half."""
    return (
        "link set lo up\n"
        f"address add {network.node}/30 dev {DEVICE}\n"
        f"link set {DEVICE} up\n"
        f"route add default via {network.host}\n"
    )


def node_rules(machine: Iterable[str]) -> str:
    """Write the node's packet filter for `nft -f`; `machine` are the addresses of this machine.

    Pods leave under the node's address, because this machine has no route to them. What would leave for anywhere but
    this machine is rejected: there is no way out, and a dropped packet would keep the sender waiting for minutes. That
    includes pods and Services that do not exist: for the latter, this comes before the rule of kube-proxy that drops.
    What the node itself sends to a Service still shows the device of the Service's route here, hence the exception.
    """
    return f"""\
table ip wisp-node {{
  set machine {{
    type ipv4_addr
    elements = {{ {", ".join(machine)} }}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr {POD_RANGE} oifname "{DEVICE}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter - 10
    jump leaving
  }}
  chain output {{
    type filter hook output priority filter - 10
    ct status dnat accept
    jump leaving
  }}
  chain leaving {{
    oifname "{DEVICE}" ip daddr != @machine reject with icmp admin-prohibited
  }}
}}
"""
