"""The input of nft and conntrack. Imports almost nothing, because every pod waits for its redirect container."""

from wisp import SIDECAR_UID

METADATA_IP, METADATA_PORT = "169.254.169.254", 80
"""Default address of the instance metadata service."""
TABLE = "wisp"  # table ip wisp
PRIORITY = -199
"""Before all other NAT chains, because a connection keeps the mapping of the first chain that sets one.

The kernel runs NAT chains in the order of their priorities, and of equal priorities the chain registered last first.
Service meshes and both iptables use -100 (dstnat). The kernel accepts nothing below -199: -200 is connection tracking.
"""

# `add` makes the delete succeed without a table. `destroy`, which needs no `add`, requires Linux 6.3.
NFT_CLEAR = f"add table ip {TABLE}\ndelete table ip {TABLE}\n"
NFT_CREATE = f"create table ip {TABLE}\n"
"""Fails if the table exists. Deleting, even of nothing, makes the kernel wait for its other CPUs: 10 ms and more."""


def nft_table(
    proxy_port: int, proxy_uid: int = SIDECAR_UID, metadata_ip: str = METADATA_IP, metadata_port: int = METADATA_PORT
) -> str:
    """Return the nft script that installs the redirect, to follow NFT_CLEAR or NFT_CREATE in the same transaction.

    The sidecar's own connections are mapped to the address that they already have. Without a mapping, a chain of a
    service mesh would send them to the proxy of the mesh, whose connection would come back to the sidecar.
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
    """Return the command that deletes tracked connections that the metadata address itself answers (not redirected)."""
    matches = ("--orig-dst", metadata_ip, "--orig-port-dst", str(metadata_port), "--reply-src", metadata_ip)
    return ("conntrack", "--delete", "--proto", "tcp", *matches)


def sentence(
    proxy_port: int, proxy_uid: int = SIDECAR_UID, metadata_ip: str = METADATA_IP, metadata_port: int = METADATA_PORT
) -> str:
    """Return one sentence about what the redirect does."""
    return f"TCP to {metadata_ip}:{metadata_port} goes to 127.0.0.1:{proxy_port}, except from uid {proxy_uid}"
