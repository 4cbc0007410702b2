"""Bytes into `Connection`: requests within limits for any split of the input, and none that h11 would not read."""

from collections.abc import Callable

from tests.fuzz.target import cuttings, expanded
from tests.unit.wisp.http.oracle import ours, theirs
from wisp.http.messages import Reject, Request
from wisp.http.parser import BODY_LIMIT, HEAD_LIMIT, TARGET_LIMIT, Continue, Event, RequestReader

Make = Callable[[], RequestReader]


def check(data: bytes, make: Make = RequestReader) -> None:
    """Fail if an invariant of the connection is broken."""
    stream = expanded(data)
    events = _read(make(), [stream])
    for pieces in cuttings(stream):
        assert _read(make(), pieces) == events, "what was read depends on how it was split"
    requests, _ = theirs(stream)
    served = _comparable(stream)
    assert served == requests[: len(served)], "a request is served that h11 does not read there"


def _comparable(stream: bytes) -> list[Request]:
    return ours([stream])[0]


def _read(connection: RequestReader, pieces: list[bytes]) -> list[Request | Reject]:
    events: list[Request | Reject] = []
    for piece in pieces:
        event = connection.receive(piece)
        while event is not None:
            _check_event(event)
            if not isinstance(event, Continue):  # whether one is sent depends on what has arrived when
                events.append(event)
            event = connection.next_event()
        _check_held(connection)
    rejects = [event for event in events if isinstance(event, Reject)]
    assert not rejects or (len(rejects) == 1 and isinstance(events[-1], Reject)), "something follows a reject"
    return events


def _check_event(event: Event) -> None:
    if isinstance(event, Request):
        assert len(event.target) <= TARGET_LIMIT
        assert len(event.body) <= BODY_LIMIT
        assert sum(len(name) + len(value) for name, value in event.headers) <= HEAD_LIMIT
        assert all(name == name.lower() for name, _ in event.headers)
        assert not any(byte in field for header in event.headers for field in header for byte in b"\r\n\0")
    elif isinstance(event, Reject):
        assert 400 <= event.status < 600
        assert event.reason.isprintable()


def _check_held(connection: RequestReader) -> None:
    """Check that no more of an unfinished message is held than the limits allow."""
    held, body = len(connection.buffer), connection._body
    limit = HEAD_LIMIT if connection._head is None else BODY_LIMIT
    assert held <= limit, f"{held} bytes are held"
    if body is not None:
        assert held == 0
        assert len(body.body) <= BODY_LIMIT
