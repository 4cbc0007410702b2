"""Bytes into `Received`, which reads the metadata service: a response or its rejection, for any split of the input."""

from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz.target import cuttings
from wisp.http.response_parser import Malformed, ResponseHead, ResponseReader
from wisp.imds.passthrough import response_headers


class _Outcome(NamedTuple):
    head: ResponseHead | None
    whole: bool
    malformed: bool
    body: bytes


def check(data: bytes, make: Callable[[], ResponseReader] = ResponseReader) -> None:
    """Fail if an invariant of the reader is broken."""
    outcome = _read(make(), [data])
    for pieces in cuttings(data):
        assert _comparable(_read(make(), pieces)) == _comparable(outcome), "what was read depends on how it was split"


def _read(received: ResponseReader, pieces: list[bytes]) -> _Outcome:
    body = b""
    for piece in pieces:
        if received.complete:
            break
        read = received.feed(piece)
        if isinstance(read, Malformed):
            assert read.reason.isprintable()
            return _Outcome(received.head, whole=False, malformed=True, body=body)
        body += read
    head = received.head
    if head is not None:
        _check_head(head, body)
    return _Outcome(head, received.ended(), malformed=False, body=body)


def _check_head(head: ResponseHead, body: bytes) -> None:
    assert 200 <= head.status <= 599
    assert head.length is None or len(body) <= head.length
    passed = response_headers(head.headers)
    assert passed.count(b"\r\n") == passed.count(b"\r") == passed.count(b"\n")
    names = {line.partition(b":")[0] for line in passed.split(b"\r\n")}
    assert not names & {b"connection", b"content-length", b"transfer-encoding", b"location", b"set-cookie"}


def _comparable(outcome: _Outcome) -> _Outcome:
    """Ignore how much of a body came before a fault in it: it depends on how much had arrived."""
    return outcome._replace(body=b"") if outcome.malformed else outcome
