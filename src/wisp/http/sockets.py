"""TCP and packet sockets for the loop, straight from CPython's `_socket`.

The public `socket` module is a wrapper around it that turns hundreds of constants into enumerations and brings
`selectors`: it costs every pod 1 MB of anonymous memory and a fifth of the sidecar's start-up. What is taken here has
not changed since Python 3.4 (decision record 0001).
"""

import _socket
import errno
import sys
from contextlib import suppress

Socket = _socket.socket
Address = tuple[str, int]
"""An IPv4 address and a port."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC)
"""Errors of a process or a machine that has no descriptor, memory or watch left for another connection."""
PAUSE = 0.1
"""Seconds until the next attempt to accept a connection after one of these errors."""

_RECEIVE_BUFFER = 64 * 1024
_TCP_CLOSE = 7  # net/tcp_states.h
_TCP_INFO_SIZE = 148  # struct tcp_info of linux/tcp.h, up to and including tcpi_notsent_bytes
_NO_LINGERING = (1).to_bytes(4, sys.byteorder) + bytes(4)  # struct linger: on, for no seconds (socket(7))


def listen(
    address: str, port: int, *, buffer: int = 8 * 1024, segment: int | None = 2 * 1024, backlog: int = 1024
) -> Socket:
    """Return a non-blocking listening socket; `::` takes IPv4 too. Raise OSError as `bind` does.

    `buffer`: bytes of each of the kernel's two buffers of an accepted connection, which Linux doubles (socket(7)). They
    count against the memory limit of the container, and by default a client can make them grow to megabytes.
    `segment`: bytes of the largest TCP segment. Loopback's own, 64 KiB, fill a small buffer with one, whose receipt the
    other side acknowledges 40 ms late: a response of 4 MiB takes 2 s instead of 1 ms.
    """
    family, _, _, _, bound_address = _socket.getaddrinfo(
        address.encode(), port, type=_socket.SOCK_STREAM, flags=_socket.AI_PASSIVE | _socket.AI_NUMERICHOST
    )[0]
    listener = Socket(family, _socket.SOCK_STREAM)
    try:
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if family == _socket.AF_INET6:
            listener.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        # Accepted sockets inherit these.
        listener.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        for option in (_socket.SO_RCVBUF, _socket.SO_SNDBUF):
            listener.setsockopt(_socket.SOL_SOCKET, option, buffer)
        if segment is not None:
            listener.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_MAXSEG, segment)
        listener.bind(bound_address)
        listener.listen(backlog)  # the kernel's net.core.somaxconn may lower it
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener


def accept(listener: Socket) -> tuple[Socket, str]:
    """Return the next connection, non-blocking, and its source address. Raise OSError as `accept` does."""
    descriptor, address = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 -- what socket's accept calls
    accepted = Socket(listener.family, _socket.SOCK_STREAM, 0, descriptor)
    accepted.settimeout(0)
    return accepted, address[0]


def connect(host: str, port: int) -> Socket:
    """Return a non-blocking socket that is writable once it is connected, or cannot be (see `connect_error`).

    The response waits in its buffer of 64 KiB while the client is slow. Raise OSError if it fails at once.
    """
    connection = Socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, _RECEIVE_BUFFER)
        connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        connection.connect((host, port))
    except BlockingIOError:
        pass
    except OSError:
        connection.close()
        raise
    return connection


def connect_error(connection: Socket) -> int:
    """Return the errno of a connection that failed, EINPROGRESS while it is not known yet, or 0."""
    error = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
    if error == 0:
        try:
            connection.getpeername()
        except OSError:
            return errno.EINPROGRESS
    return error


def is_ipv4(text: str) -> bool:
    """Say whether `text` is an IPv4 address as four decimal numbers."""
    try:
        return len(_socket.inet_pton(_socket.AF_INET, text)) == 4
    except (OSError, ValueError):
        return False


def packet_pair() -> tuple[Socket, Socket]:
    """Return two connected sockets that keep the boundaries between packets."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def hang_up(connection: Socket) -> None:
    """Close the sending half. Raise OSError where the connection is gone."""
    connection.shutdown(_socket.SHUT_WR)


def is_stuck(connection: Socket) -> bool:
    """Say whether the other side does not take what was sent, so that the kernel holds it. False where it is gone."""
    try:
        info = connection.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return False
    state, _, retransmits, probes = info[:4]
    never_sent = int.from_bytes(info[144:148], sys.byteorder)
    return state != _TCP_CLOSE and (retransmits > 0 or probes > 0 or never_sent > 0)


def reset(connection: Socket) -> None:
    """Close with a reset: the other side must not take what it has for the whole. Raise nothing if it is gone."""
    with suppress(OSError):
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _NO_LINGERING)
    with suppress(OSError):
        connection.close()
