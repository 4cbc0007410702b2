"""Writes an answer whose body comes piece by piece: its head, each piece framed, its end (RFC 9112 §6-7)."""

from typing import NamedTuple

from wisp.http.epoll_peer import Peer
from wisp.http.head import Request
from wisp.http.response import REASONS, Response

_WITHOUT_BODY = (204, 304)


class Streamed(NamedTuple):
    """A response without its body: `length` bytes of it are to come; None: until it ends. `headers` are whole lines."""

    status: int
    headers: bytes
    length: int | None


class Outlet:
    """The way to the client for one answer: `reply` with a whole one, or `begin`, `write`, `end`.

    Whatever is written may end the connection, and then the source is cancelled before the call returns.
    """

    __slots__ = ("_chunked", "_goes_on", "_peer", "_request")

    def __init__(self, peer: Peer, request: Request) -> None:
        self._peer = peer
        self._request = request
        self._chunked = False
        self._goes_on = False

    def reply(self, response: Response) -> None:
        """Answer at once and whole, before anything has begun."""
        self._peer.reply(response)

    def begin(self, streamed: Streamed) -> None:
        """Send the head."""
        host, request = self._peer.host, self._request
        framing = self._framing(streamed)
        self._goes_on = host.goes_on(request) and framing is not None
        if not self._goes_on:
            connection = b"Connection: close\r\n"
        else:
            connection = b"Connection: keep-alive\r\n" if request.http_1_0 else b""
        self._peer.push(
            b"HTTP/1.1 %d %b\r\nDate: %b\r\n%b%b%b\r\n"
            % (
                streamed.status,
                REASONS.get(streamed.status, b"Unknown"),
                host.date,
                streamed.headers,
                framing or b"",
                connection,
            )
        )

    def _framing(self, streamed: Streamed) -> bytes | None:
        """Return the header that tells where the body ends; None where only the end of the connection can."""
        if streamed.status in _WITHOUT_BODY:
            return b""
        if streamed.length is not None:
            return b"Content-Length: %d\r\n" % streamed.length
        self._chunked = not self._request.http_1_0
        return b"Transfer-Encoding: chunked\r\n" if self._chunked else None

    def write(self, data: bytes) -> bool:
        """Send a piece of the body; say whether more may follow before the source's `resume` is called."""
        return self._peer.push(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data)

    def end(self) -> None:
        """Say that the body is whole."""
        if self._chunked:
            self._peer.push(b"0\r\n\r\n")
        self._peer.finish(goes_on=self._goes_on)

    def abort(self) -> None:
        """End the connection so that the client cannot take what it has for the whole."""
        self._peer.close()
