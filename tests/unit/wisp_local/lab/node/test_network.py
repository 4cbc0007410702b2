"""The commands that make the node's network: nodes do not meet, and this machine gets one device more."""

from wisp_local.lab.node.network import Network, host_batch, node_batch

FIRST, SECOND = Network(0), Network(7)


def test_two_nodes_share_no_address_and_no_device() -> None:
    """They differ by their number."""
    for name in ("host", "node", "device", "api_server"):
        assert getattr(FIRST, name) != getattr(SECOND, name)


def test_device_names_are_short_enough_for_the_kernel() -> None:
    """It accepts 15 characters (IFNAMSIZ)."""
    assert len(Network(254).device) <= 15


def test_this_machine_gets_one_device_with_one_address() -> None:
    """Its alias names the owner. There is no route and no rule."""
    assert host_batch(SECOND, "/proc/self/fd/9", "/var/lab").splitlines() == [
        "link add wisp7 type veth peer name node0 netns /proc/self/fd/9",
        'link set wisp7 alias "/var/lab"',
        "address add 10.201.7.1/30 dev wisp7",
        "link set wisp7 up",
    ]


def test_the_nodes_default_route_is_this_machine() -> None:
    """It has no other way out."""
    assert node_batch(SECOND).splitlines() == [
        "link set lo up",
        "address add 10.201.7.2/30 dev node0",
        "link set node0 up",
        "route add default via 10.201.7.1",
    ]
