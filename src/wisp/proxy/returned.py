"""Explain why a request that the sidecar forwarded came back to it, and what to do about it.

The connection that it came back by shows the cause. The redirect changes where a connection leads, not where it comes
from: if the redirect caught the sidecar's own connection, exactly that connection arrives. If the address differs, some
process accepted the sidecar's connection and opened one of its own: a service mesh's proxy.
"""

import os
import sys
from contextlib import suppress
from typing import NamedTuple

from wisp import SIDECAR_UID
from wisp.http.connection import Responder
from wisp.http.messages import Request, Response
from wisp.http.sockets import Address
from wisp.imds.answer import Refusal
from wisp.imds.passthrough import MARK

_SOCKET_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
_ESTABLISHED = "01"


class MetadataEndpoint(NamedTuple):
    """IPv4 address and port of the node's metadata service."""

    host: str
    port: int

    @property
    def name(self) -> bytes:
        """Its Host header (RFC 9110 §7.2)."""
        return (self.host if self.port == 80 else str(self)).encode()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Evidence(NamedTuple):
    """What is known of a request that came back."""

    endpoint: MetadataEndpoint
    own: bool
    """Whether this sidecar forwarded it, not another one."""
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


def refusal_of(evidence: Evidence) -> Refusal:
    """Return the refusal that names the cause and the remedy."""
    return Refusal(508, "loop_detected", _explanation(evidence))


def _explanation(evidence: Evidence) -> str:
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


class ReturnedRequest:
    """The source of the response to a request that came back: it depends on the connection."""

    held = 0
    """Bytes of the client's request that count as held."""

    def __init__(self, request: Request, *, own: bool) -> None:
        self.request = request
        self._own = own
        self._responder: Responder | None = None

    def attach(self, responder: Responder) -> None:
        """Set the connection that the request came by."""
        self._responder = responder

    def resume(self) -> None:
        """Do nothing: the response is sent at once."""

    def cancel(self) -> None:
        """Send nothing: the client is gone."""
        self._responder = None

    def refusal(self, endpoint: MetadataEndpoint, ours: set[Address]) -> Refusal:
        """Return the answer; `ours` are the addresses of the sidecar's present connections to the metadata service."""
        evidence = Evidence(endpoint, self._own, os.getuid())
        if self._own and self._responder is not None:
            with suppress(OSError):  # it has just been closed
                here, sender = self._responder.addresses()
                direct = sender in ours
                uid = None if direct else uid_of(sender)
                evidence = evidence._replace(here=here, sender=sender, direct=direct, sender_uid=uid)
        return refusal_of(evidence)

    def reply(self, response: Response) -> None:
        """Answer the client, if it still waits."""
        if self._responder is not None:
            self._responder.reply(response)


def uid_of(address: Address) -> int | None:
    """Return the user of the connected socket with this local address; None if this network namespace has none."""
    for path in _SOCKET_TABLES:
        with suppress(OSError), open(path, encoding="ascii") as table:  # noqa: PTH123 -- pathlib is not loaded
            for line in table:
                if (uid := _uid_in(line, address)) is not None:
                    return uid
    return None


def _uid_in(line: str, address: Address) -> int | None:
    """Return the user in a line of /proc/net/tcp or tcp6, if it is for `address` (proc_net_tcp in the kernel).

    An address is its 32-bit words in the machine's byte order; an IPv4 address is the last word of a mapped one.
    """
    fields = line.split()
    host, port = address
    number = int.from_bytes(bytes(map(int, host.split("."))), sys.byteorder)
    if len(fields) < 8 or fields[3] != _ESTABLISHED or not fields[1].endswith(f"{number:08X}:{port:04X}"):
        return None
    return int(fields[7])
