"""What nft and conntrack are given. Imports nothing else, because every pod waits for its redirect container."""

from wisp import SIDECAR_UID

METADATA_IP, METADATA_PORT = "169.254.169.254", 80
"""The metadata service's address, unless the command line says otherwise."""
TABLE = "wisp"  # table ip wisp
PRIORITY = -199
"""Before all other NAT chains, because a connection keeps the mapping of the first chain that makes one.

The kernel runs NAT chains in the order of their priorities, and of equal priorities the chain registered last first.
Service meshes and both iptables use -100 (dstnat). The kernel accepts nothing below -199: -200 is connection tracking.
"""

# `add` makes the delete safe when there is no table; `destroy`, which would need no such thing, is kernel 6.3's.
NFT_CLEAR = f"add table ip {TABLE}\ndelete table ip {TABLE}\n"
NFT_CREATE = f"create table ip {TABLE}\n"
"""Fails where there is a table. Clearing, even of nothing, makes the kernel wait for its other CPUs, 10 ms and more."""


def nft_table(
    proxy_port: int, proxy_uid: int = SIDECAR_UID, metadata_ip: str = METADATA_IP, metadata_port: int = METADATA_PORT
) -> str:
    """Return what puts the redirect in force after one of the above, in the same transaction.

    The sidecar's own connections are mapped to the address that they have anyway: without a mapping, a chain of a
    service mesh would take them to the mesh's proxy, whose connection would come back to the sidecar.
    """
    metadata = f"ip daddr {metadata_ip} tcp dport {metadata_port}"
    return (
        f"table ip {TABLE} {{\n"
        "\tchain output {\n"
        f"\t\ttype nat hook output priority {PRIORITY}; policy accept;\n"
        f"\t\t{metadata} meta skuid {proxy_uid} dnat to {metadata_ip}\n"
        f"\t\t{metadata} meta skuid != {proxy_uid} redirect to :{proxy_port}\n"
        "\t}\n"
        "}\n"
    )


def conntrack_arguments(metadata_ip: str = METADATA_IP, metadata_port: int = METADATA_PORT) -> tuple[str, ...]:
    """Return the command that forgets connections which the metadata address itself answers: those not redirected."""
    wanted = ("--orig-dst", metadata_ip, "--orig-port-dst", str(metadata_port), "--reply-src", metadata_ip)
    return ("conntrack", "--delete", "--proto", "tcp", *wanted)


def sentence(
    proxy_port: int, proxy_uid: int = SIDECAR_UID, metadata_ip: str = METADATA_IP, metadata_port: int = METADATA_PORT
) -> str:
    """Say what the redirect does."""
    return f"TCP to {metadata_ip}:{metadata_port} goes to 127.0.0.1:{proxy_port}, except from uid {proxy_uid}"
