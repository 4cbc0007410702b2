"""What is served of a stream by wisp and by h11, an independent implementation of the same grammar."""

import h11

from tests.unit.wisp.http.wire import outcome
from wisp.http.messages import Reject, Request


def ours(pieces: list[bytes]) -> tuple[list[Request], bool]:
    """Return what the server would serve up to the request that ends the connection, and whether it rejected one."""
    requests: list[Request] = []
    for event in outcome(pieces):
        if isinstance(event, Reject):
            return requests, True
        requests.append(_comparable(event))
        if not requests[-1].keep_alive:
            break
    return requests, False


def theirs(stream: bytes) -> tuple[list[Request], bool]:
    """Return the same for h11."""
    requests: list[Request] = []
    try:
        while (read := _read(stream)) is not None:
            request, stream = read
            requests.append(_comparable(request))
            if not request.keep_alive:
                break
    except h11.RemoteProtocolError:
        return requests, True
    return requests, False


def _read(stream: bytes) -> tuple[Request, bytes] | None:
    """Read one request and return it with the remaining input; None if it is incomplete."""
    while stream.startswith(b"\r\n"):  # h11 does not ignore empty lines before a request
        stream = stream[2:]
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    head = connection.next_event()
    if not isinstance(head, h11.Request):
        return None
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    if not isinstance(event, h11.EndOfMessage):
        return None
    http_1_0, keep_alive = head.http_version == b"1.0", connection.their_state is not h11.MUST_CLOSE
    request = Request(head.method, head.target, tuple(head.headers), bytes(body), http_1_0, keep_alive)
    return request, connection.trailing_data[0]


def _comparable(request: Request) -> Request:
    """Return the request as h11 sees it: HTTP/1.0 connections do not persist, and codings are in lower case."""
    headers = tuple((name, value.lower() if name == b"transfer-encoding" else value) for name, value in request.headers)
    return request._replace(headers=headers, keep_alive=request.keep_alive and not request.http_1_0)
