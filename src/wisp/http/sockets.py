"""TCP and packet sockets for the loop, straight from CPython's `_socket`.

The public `socket` module is a wrapper around it that turns hundreds of constants into enumerations and brings
`selectors`: it costs every pod 1 MB of anonymous memory and a fifth of the sidecar's start-up. What is taken here has
not changed since Python 3.4 (decision record 0001).
"""

import _socket
import errno
import sys

Socket = _socket.socket
Address = tuple[str, int]
"""An IPv4 address and a port."""

_BUFFER = 8 * 1024
"""Bytes asked for as each of the kernel's two buffers of an accepted connection; Linux doubles it (socket(7)).

The buffers count against the memory limit of the container, and by default a client can make them grow to megabytes.
"""
_SEGMENT = _BUFFER // 4
"""Bytes of the largest TCP segment. Loopback's own, 64 KiB, fill such a buffer with one, whose receipt the other side
acknowledges 40 ms late: an answer of 4 MiB takes 2 s instead of 1 ms.
"""
_RECEIVE_BUFFER = 64 * 1024
"""The same for a connection that we make, whose answer waits there while the client is slow."""
_TCP_CLOSE = 7  # net/tcp_states.h
_TCP_INFO_SIZE = 148  # struct tcp_info of linux/tcp.h, up to and including tcpi_notsent_bytes
_NO_LINGERING = (1).to_bytes(4, sys.byteorder) + bytes(4)  # struct linger: on, for no seconds (socket(7))


def listen(host: str, port: int, backlog: int = 1024) -> Socket:
    """Return a non-blocking listening TCP socket. Raise OSError as `bind` does."""
    listener = Socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        for option in (_socket.SO_RCVBUF, _socket.SO_SNDBUF):  # accepted sockets inherit them
            listener.setsockopt(_socket.SOL_SOCKET, option, _BUFFER)
        listener.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_MAXSEG, _SEGMENT)
        listener.bind((host, port))
        listener.listen(backlog)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener


def accept(listener: Socket) -> Socket:
    """Return the next connection, non-blocking and without Nagle's delay. Raise OSError as `accept` does."""
    descriptor, _address = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 -- what socket's accept calls
    accepted = Socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, descriptor)
    accepted.settimeout(0)
    accepted.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    return accepted


def connect(host: str, port: int) -> Socket:
    """Return a non-blocking socket that is writable once it is connected or cannot be (`connect_error` tells which).

    Raise OSError where that is known at once, or there is no socket to be had.
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
    """Return the errno of a connection that could not be made, EINPROGRESS while it is not known yet, or 0."""
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
    """Return two connected sockets that keep the bounds of what is sent."""
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


def break_off(connection: Socket) -> None:
    """Close with a reset: the other side is not to take what it has for the whole. No error where it is gone."""
    try:
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _NO_LINGERING)
    finally:
        connection.close()
