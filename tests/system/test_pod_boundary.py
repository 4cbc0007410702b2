"""The limits in docs/explanation/pod-boundary.md: the redirect is a convenience, the pod is the boundary."""

import errno
from collections.abc import Iterator

import pytest

from tests.support.needs import need
from tests.unit.wisp.redirect.pod import (
    METADATA,
    NEEDED,
    PROXY_UID,
    WORKLOAD_UID,
    Pod,
    confine,
    network,
    pod,
    wisp_command,
)

pytestmark = pytest.mark.system

# Capabilities that containerd and CRI-O give root by default, as far as they matter here.
DEFAULT_CAPABILITIES = ("chown", "dac_override", "fowner", "kill", "setgid", "setuid", "net_bind_service", "net_raw")
# Becomes the user, connects to the metadata service, prints what answered.
_AS_USER = f"""
import os, socket, sys
os.setresuid(int(sys.argv[1]), int(sys.argv[1]), int(sys.argv[1]))
with socket.socket() as connection:  # which needs no file that only the first user may read
    connection.settimeout(60)
    connection.connect(("{METADATA}", 80))
    print(connection.recv(100).decode())
"""
# Listens on the sidecar's address as another user; prints the result.
_LISTEN = """
import os, socket, sys
os.setgroups([]); os.setresgid(4321, 4321, 4321); os.setresuid(4321, 4321, 4321)
try:
    socket.create_server((sys.argv[1], int(sys.argv[2])))
    print("listens")
except OSError as error:
    print(type(error).__name__, error.errno)
"""
# A TCP client of a few lines on a packet socket, below every rule of netfilter. It has an address of its own, for
# which it answers ARP, so that the kernel does not reset connections that it knows nothing of.
_PACKETS = f"""
import socket, struct, sys
ETHERNET, IP, ARP, OWN, PORT = 0x0003, 0x0800, 0x0806, socket.inet_aton("10.77.0.9"), 40000
METADATA = socket.inet_aton("{METADATA}")
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERNET))
link.bind(("eth0", 0))
link.settimeout(60)
mine = link.getsockname()[4]
def checksum(data):
    total = sum(struct.unpack(f"!{{len(data) // 2}}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
def arp(kind, target, address):
    head = struct.pack("!HHBBH", 1, IP, 6, 4, kind)
    whose = (target or bytes(6)) + address
    link.send((target or b"\\xff" * 6) + mine + struct.pack("!H", ARP) + head + mine + OWN + whose)
def tcp(target, flags, sequence, acknowledged):
    def segment(value):
        return struct.pack("!HHIIBBHHH", PORT, 80, sequence, acknowledged, 5 << 4, flags, 65535, value, 0)
    value = checksum(OWN + METADATA + struct.pack("!BBH", 0, 6, 20) + segment(0))
    def header(value):
        return struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, value) + OWN + METADATA
    link.send(target + mine + struct.pack("!H", IP) + header(checksum(header(0))) + segment(value))
gateway = socket.inet_aton("10.77.0.1")
arp(1, None, gateway)
node = None
while True:
    frame = link.recv(2000)
    kind, rest = struct.unpack("!H", frame[12:14])[0], frame[14:]
    if frame[6:12] == mine:
        continue
    if kind == ARP and rest[24:28] == OWN:
        if rest[7] == 1:
            arp(2, rest[8:14], rest[14:18])
        elif node is None:
            node = rest[8:14]
            tcp(node, 2, 1000, 0)
    elif kind == IP and rest[9] == 6 and rest[12:16] == METADATA and rest[16:20] == OWN:
        segment = rest[20:struct.unpack("!H", rest[2:4])[0]]
        sequence, flags = struct.unpack("!I", segment[4:8])[0], segment[13]
        data = segment[(segment[12] >> 4) * 4:]
        if flags & 2:
            tcp(node, 16, 1001, sequence + 1)
        elif data:
            print(data.decode())
            break
"""


@pytest.fixture(name="inside")
def _inside() -> Iterator[Pod]:
    need(*NEEDED)
    with pod() as new_pod:
        yield new_pod


@pytest.fixture(name="redirected")
def _redirected(inside: Pod) -> Pod:
    inside.must(*wisp_command("up"))
    assert inside.ask() == "proxy-8000"
    return inside


def test_root_with_default_capabilities_reaches_the_node(redirected: Pod) -> None:
    """They include SETUID: a process that becomes the sidecar's user is exempt as the sidecar is."""
    as_sidecar = (redirected.python, "-c", _AS_USER, str(PROXY_UID))
    assert redirected.must(*confine(DEFAULT_CAPABILITIES, 0), *as_sidecar) == f"node-{METADATA}-80\n"
    dropped = [capability for capability in DEFAULT_CAPABILITIES if capability != "setuid"]
    assert "PermissionError" in redirected.run(*confine(dropped, 0), *as_sidecar).stderr


def test_container_with_the_uid_of_the_sidecar_reaches_the_node(redirected: Pod) -> None:
    """It needs no capability: the pod chooses runAsUser."""
    ask = (redirected.python, "-c", _AS_USER, str(PROXY_UID))
    assert redirected.must(*confine((), PROXY_UID), *ask) == f"node-{METADATA}-80\n"


def test_raw_packets_reach_the_node(redirected: Pod) -> None:
    """NET_RAW allows packet sockets, whose frames bypass the pod's NAT rules."""
    packets = (redirected.python, "-c", _PACKETS)
    assert redirected.must(*confine(("net_raw",), 0), *packets) == f"node-{METADATA}-80\n"
    assert "PermissionError" in redirected.run(*confine((), 0), *packets).stderr


@pytest.mark.parametrize(
    "capabilities", [(), ("net_bind_service", "kill", "dac_override")], ids=["no capabilities", "other capabilities"]
)
def test_users_without_setuid_and_net_raw_reach_the_sidecar(redirected: Pod, capabilities: tuple[str, ...]) -> None:
    """Admission warns about exactly these two capabilities."""
    ask = (redirected.python, "-c", _AS_USER.replace("os.setresuid", "(lambda *_: 0)"), "0")
    assert redirected.must(*confine(capabilities, WORKLOAD_UID), *ask) == "proxy-8000\n"


@pytest.mark.parametrize("uid", [0, WORKLOAD_UID])
def test_every_user_reaches_the_node_without_a_redirect(inside: Pod, uid: int) -> None:
    """Env mode installs no redirect: variables only tell SDKs where the sidecar is."""
    assert inside.ask(uid=uid) == f"node-{METADATA}-80"
    assert inside.ask("127.0.0.1", 8000, uid=uid) == "proxy-8000"


# The effect of a network policy, or of AKS's IMDS restriction, on the node's side of the pod's link.
_BLOCKED = f"""
table ip blocked {{
	chain input {{
		type filter hook input priority 0; policy accept;
		iifname "veth0" ip daddr {METADATA} tcp dport 80 reject with tcp reset
	}}
}}
"""


def test_block_on_the_node_stops_every_bypass_and_no_token() -> None:
    """The redirect leads to the sidecar before a packet leaves the pod."""
    need(*NEEDED)
    with network() as (node, inside), node.answering(f"node-{METADATA}-80,{METADATA},80"):
        assert inside.ask() == f"node-{METADATA}-80"
        node.must("nft", "-f", "-", text=_BLOCKED)
        assert {inside.ask(uid=uid) for uid in (0, PROXY_UID, WORKLOAD_UID)} == {"ConnectionRefusedError"}
        with inside.answering("proxy-8000,127.0.0.1,8000"):
            inside.must(*wisp_command("up"))
            assert inside.ask() == "proxy-8000"
            assert inside.ask(uid=PROXY_UID) == "ConnectionRefusedError"


def test_every_user_of_the_pod_reaches_the_sidecar(redirected: Pod) -> None:
    """The network is the pod's: containers in skip-containers and ephemeral ones share it."""
    assert {redirected.ask("127.0.0.1", 8000, uid=uid) for uid in (0, 1, WORKLOAD_UID, 65534)} == {"proxy-8000"}


def test_port_of_a_stopped_sidecar_can_be_taken(inside: Pod) -> None:
    """The redirect then leads to the other process; while the sidecar listens, nobody can take its port."""
    inside.must(*wisp_command("up", "--proxy-port=8002"))
    assert inside.ask() == "ConnectionRefusedError"
    with inside.answering("another-process,127.0.0.1,8002"):
        assert inside.ask() == "another-process"
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 -- in a namespace of its own
        assert inside.must(inside.python, "-c", _LISTEN, address, "8000") == f"OSError {errno.EADDRINUSE}\n"
    assert inside.must(inside.python, "-c", _LISTEN, "127.0.0.1", "8003") == "listens\n"
