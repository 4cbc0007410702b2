"""Socket helpers of the sidecar."""

import _socket
import errno
import select
import socket

import pytest

from tests.support.waiting import wait_until
from wisp.http.sockets import (
    accept,
    connect,
    connect_error,
    hang_up,
    is_ipv4,
    is_stuck,
    listen,
    packet_pair,
    reset,
)


def test_accepted_connections_do_not_block_or_delay() -> None:
    """They do not use Nagle's algorithm."""
    listener = listen("127.0.0.1", 0)
    with pytest.raises(BlockingIOError):
        accept(listener)
    with socket.create_connection(listener.getsockname()):
        accepted, _ = accept(listener)
        assert accepted.gettimeout() == 0
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        accepted.close()
    listener.close()


def test_accepted_connections_have_small_buffers() -> None:
    """The kernel's buffers count against the memory limit of the container: 16 KiB each way (Linux doubles 8 KiB)."""
    listener = listen("127.0.0.1", 0)
    with socket.create_connection(listener.getsockname()):
        accepted, _ = accept(listener)
        buffers = [accepted.getsockopt(socket.SOL_SOCKET, option) for option in (socket.SO_RCVBUF, socket.SO_SNDBUF)]
        assert buffers == [16 * 1024] * 2
        accepted.close()
    listener.close()


@pytest.mark.parametrize("read", [True, False])
def test_connection_is_stuck_until_the_peer_reads(read: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    """It is no longer stuck once the peer has read or has gone."""
    listener = listen("127.0.0.1", 0)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with client:
        client.connect(listener.getsockname())
        accepted, _ = accept(listener)
        assert not is_stuck(accepted)
        sent = accepted.send(b"x" * 8192)
        assert is_stuck(accepted)
        if read:
            assert len(client.recv(sent, socket.MSG_WAITALL)) == sent
            wait_until(lambda: not is_stuck(accepted))
    wait_until(lambda: not is_stuck(accepted))
    accepted.close()
    assert not is_stuck(accepted)
    listener.close()


def test_port_in_use_raises_os_error() -> None:
    """The socket created for it is closed; an open one would be a warning and fail this test."""
    listener = listen("127.0.0.1", 0)
    with pytest.raises(OSError, match="Address already in use"):
        listen("127.0.0.1", listener.getsockname()[1])
    listener.close()


def test_packet_boundaries_are_preserved() -> None:
    ours, theirs = packet_pair()
    ours.send(b"a")
    ours.send(b"b")
    assert [theirs.recv(10), theirs.recv(10)] == [b"a", b"b"]
    hang_up(ours)
    assert theirs.recv(10) == b""
    ours.close()
    theirs.close()


def test_connecting_does_not_block_and_reports_success() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    connection = connect("127.0.0.1", listener.getsockname()[1])
    assert connection.gettimeout() == 0
    select.select([], [connection], [], 5)
    assert connect_error(connection) == 0
    connection.close()
    listener.close()


def test_failed_connection_is_reported() -> None:
    """A refused connection reports its error, and a pending one that it is pending."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    refused = connect("127.0.0.1", port)
    select.select([], [refused], [], 5)
    assert connect_error(refused) == errno.ECONNREFUSED
    refused.close()
    unconnected = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    assert connect_error(unconnected) == errno.EINPROGRESS
    unconnected.close()


def test_immediate_connect_error_raises_os_error() -> None:
    """The socket created for it is closed."""
    with pytest.raises(OSError, match=r"Permission denied|unreachable"):
        connect("255.255.255.255", 80)


def test_aborted_connection_is_reset() -> None:
    """The peer reads a reset, not an end."""
    listener = socket.create_server(("127.0.0.1", 0))
    connection = connect("127.0.0.1", listener.getsockname()[1])
    accepted, _ = listener.accept()
    connection.send(b"half")
    reset(connection)
    with pytest.raises(ConnectionResetError):
        list(iter(lambda: accepted.recv(10), b""))
    accepted.close()
    listener.close()


@pytest.mark.parametrize("text", ["0.0.0.0", "169.254.169.254", "255.255.255.255"])  # noqa: S104 -- no bind
def test_dotted_ipv4_addresses_are_accepted(text: str) -> None:
    assert is_ipv4(text)


@pytest.mark.parametrize(
    "text", ["", "1", "1.2.3", "1.2.3.256", "01.2.3.4", "0x1.2.3.4", "1.2.3.4 ", "::1", "a\0", "\udcff"]
)
def test_abbreviated_and_malformed_addresses_are_rejected(text: str) -> None:
    """This includes forms that inet_aton would accept."""
    assert not is_ipv4(text)
