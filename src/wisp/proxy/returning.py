"""Finds out why a request that the sidecar passed on came back to it, and says what to do about it.

What tells the causes apart is the connection that it came back by. The redirect changes where a connection leads, not
where it comes from: if the redirect caught the sidecar's own connection, that is the very connection which arrives. If
the address is another, some process took the sidecar's connection and made one of its own: a service mesh's proxy.
"""

import os
import sys
from contextlib import suppress
from typing import NamedTuple

from wisp import SIDECAR_UID
from wisp.http.epoll_peer import Peer
from wisp.http.head import Request
from wisp.http.outlet import Outlet
from wisp.http.response import Response
from wisp.http.sockets import Address
from wisp.imds.decision import Refuse
from wisp.imds.passthrough import MARK
from wisp.proxy.relay import Endpoint

_SOCKET_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
_ESTABLISHED = "01"


class Evidence(NamedTuple):
    """What can be seen of a request that came back."""

    endpoint: Endpoint
    own: bool
    """Whether this sidecar passed it on, not another one."""
    uid: int
    """The sidecar's own user."""
    here: Address | None = None
    """Where it arrived; None if the connection is gone."""
    sender: Address | None = None
    """Where it came from."""
    direct: bool = False
    """Whether it came by the connection that the sidecar made to the metadata service."""
    sender_uid: int | None = None
    """The user whose process in this network namespace sent it; None if there is no such process."""


def refusal_of(evidence: Evidence) -> Refuse:
    """Return the refusal that names the cause and the remedy."""
    return Refuse(508, "loop_detected", _explained(evidence))


def _explained(evidence: Evidence) -> str:
    endpoint = evidence.endpoint
    if not evidence.own:
        return (
            f"The request carries {MARK.decode()}: another sidecar passed it on. A sidecar does not pass on what comes "
            "from a sidecar; check where the --metadata-endpoint and the redirect of the other one lead"
        )
    if evidence.here == endpoint:
        return (
            f"The request came back: --metadata-endpoint {endpoint} is the address of the sidecar itself; give that of "
            "the node's metadata service"
        )
    if evidence.direct:
        return (
            f"The request came back: a redirect caught the sidecar's own connection to {endpoint}, because it does not "
            f"exempt the sidecar's user, uid {evidence.uid}. Run the sidecar as the user that the redirect exempts "
            f"(uid {SIDECAR_UID} by default), or install the redirect by wisp redirect up --proxy-uid {evidence.uid}"
        )
    return (
        f"The request came back: {_sender(evidence)} took the sidecar's connection to {endpoint} and made one of its "
        "own, which the redirect sent here. A service mesh or another transparent proxy intercepts what the pod sends: "
        f"exempt {endpoint.host} from it. Istio: annotate the pod with "
        f"traffic.sidecar.istio.io/excludeOutboundIPRanges: {endpoint.host}/32. Linkerd: annotate it with "
        f"config.linkerd.io/skip-subnets: {endpoint.host}/32, or with config.linkerd.io/skip-outbound-ports: "
        f'"{endpoint.port}"'
    )


def _sender(evidence: Evidence) -> str:
    if evidence.sender is None:
        return "another process"
    place = "{}:{}".format(*evidence.sender)
    if evidence.sender_uid is None:
        return f"a process at {place}, which is not in this network namespace,"
    return f"a process of uid {evidence.sender_uid} in this pod, at {place},"


class Return:
    """The source of the answer to a request that came back: what is to be said depends on the connection."""

    def __init__(self, request: Request, *, own: bool) -> None:
        self.request = request
        self._own = own
        self._peer: Peer | None = None

    def attach(self, peer: Peer, request: Request) -> None:  # noqa: ARG002 -- the protocol's
        """Take note of the connection that the request came by."""
        self._peer = peer

    def resume(self) -> None:
        """Nothing is left to say once the answer is."""

    def cancel(self) -> None:
        """Say nothing: the client is gone."""
        self._peer = None

    def refusal(self, endpoint: Endpoint, ours: set[Address]) -> Refuse:
        """Return the answer; `ours` are the addresses from which the sidecar asks the metadata service now."""
        evidence = Evidence(endpoint, self._own, os.getuid())
        if self._own and self._peer is not None:
            with suppress(OSError):  # it has just been closed
                here, sender = self._peer.addresses()
                direct = sender in ours
                uid = None if direct else uid_of(sender)
                evidence = evidence._replace(here=here, sender=sender, direct=direct, sender_uid=uid)
        return refusal_of(evidence)

    def reply(self, response: Response) -> None:
        """Answer the client, if it still waits."""
        if self._peer is not None:
            Outlet(self._peer, self.request).reply(response)


def uid_of(address: Address) -> int | None:
    """Return the user of the connected socket with this local address, None if this network namespace has none."""
    for path in _SOCKET_TABLES:
        with suppress(OSError), open(path, encoding="ascii") as table:  # noqa: PTH123 -- pathlib is not loaded
            for line in table:
                if (uid := _uid_in(line, address)) is not None:
                    return uid
    return None


def _uid_in(line: str, address: Address) -> int | None:
    """Return the user that a line of /proc/net/tcp or tcp6 names, if it is of `address` (proc_net_tcp in the kernel).

    An address is its 32-bit words in the machine's byte order; an IPv4 address is the last word of a mapped one.
    """
    fields = line.split()
    host, port = address
    number = int.from_bytes(bytes(map(int, host.split("."))), sys.byteorder)
    if len(fields) < 8 or fields[3] != _ESTABLISHED or not fields[1].endswith(f"{number:08X}:{port:04X}"):
        return None
    return int(fields[7])
