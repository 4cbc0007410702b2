"""The node's network as commands: several nodes do not meet, and nothing of this machine is changed but one device."""

from wisp_local.lab.node.network import Network, host_batch, node_batch, node_rules

FIRST, SECOND = Network(0), Network(7)


def test_two_nodes_share_no_address_and_no_device() -> None:
    """They differ by their number."""
    for each in ("host", "node", "device", "api_server"):
        assert getattr(FIRST, each) != getattr(SECOND, each)


def test_device_names_fit() -> None:
    """The kernel takes 15 characters (IFNAMSIZ)."""
    assert len(Network(254).device) <= 15


def test_this_machines_half() -> None:
    """One device with one address, which says whose it is; no route, no rule."""
    assert host_batch(SECOND, "/proc/self/fd/9", "/var/lab").splitlines() == [
        "link add wisp7 type veth peer name node0 netns /proc/self/fd/9",
        'link set wisp7 alias "/var/lab"',
        "address add 10.201.7.1/30 dev wisp7",
        "link set wisp7 up",
    ]


def test_the_nodes_half() -> None:
    """The node's way out is this machine."""
    assert node_batch(SECOND).splitlines() == [
        "link set lo up",
        "address add 10.201.7.2/30 dev node0",
        "link set node0 up",
        "route add default via 10.201.7.1",
    ]


def test_pods_leave_under_the_nodes_address() -> None:
    """This machine has no route to pods."""
    assert 'ip saddr 10.244.0.0/16 oifname "node0" masquerade' in node_rules(["10.201.7.1"])


def test_what_cannot_be_reached_is_rejected() -> None:
    """All but this machine's own addresses; a dropped packet would keep its sender waiting."""
    rules = node_rules(["10.201.7.1", "192.0.2.2"])
    assert "elements = { 10.201.7.1, 192.0.2.2 }" in rules
    assert 'oifname "node0" ip daddr != @machine reject' in rules
