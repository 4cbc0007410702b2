"""The yardstick: the least that epoll, httptools and Python can do for a keep-alive connection. It is no server.

`python -m bench.bare PORT SIZE` answers every request with the same SIZE bytes, the head of the answer included. There
are no limits, no deadlines and no errors: what a server costs beyond this is what it does.
"""

import select
import socket
import sys

import httptools

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %4d\r\n\r\n"


def answer_of(size: int) -> bytes:
    """Return an answer that is `size` bytes long in all."""
    body = b"x" * (size - len(_HEAD % 0))
    return _HEAD % len(body) + body


class Peer:
    """One connection: counts the requests that end."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.parser = httptools.HttpRequestParser(self)
        self.ended = 0

    def on_message_complete(self) -> None:
        """Count a request (called by the parser)."""
        self.ended += 1

    def on_ready(self, answer: bytes) -> bool:
        """Read, parse, answer; say whether the client is still there."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        if not data:
            return False
        self.parser.feed_data(data)
        if self.ended:
            self.socket.sendall(answer * self.ended)
            self.ended = 0
        return True


def serve(port: int, answer: bytes) -> None:
    """Answer until killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    peers: dict[int, Peer] = {}
    while True:
        for descriptor, _events in poller.poll():
            if descriptor == listener.fileno():
                accepted, _address = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poller.register(accepted, select.EPOLLIN)
                peers[accepted.fileno()] = Peer(accepted)
            elif not peers[descriptor].on_ready(answer):
                poller.unregister(descriptor)
                peers.pop(descriptor).socket.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]), answer_of(int(sys.argv[2])))
