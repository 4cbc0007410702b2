"""Where a chunked body ends, what it contains, and its size limits."""

import pytest

from tests.support.cycles import counting_cycles
from tests.unit.wisp.http.hostile import CHUNKS, Hostile
from tests.unit.wisp.http.wire import NEXT, POST, events, one
from wisp.http.messages import Reject, Request
from wisp.http.parser import BODY_LIMIT, ChunkedBody

HEAD = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("hostile", CHUNKS.values(), ids=CHUNKS)
def test_hostile_bodies_end_the_connection(hostile: Hostile) -> None:
    """A malformed chunked body is rejected as a whole, and nothing after it is served."""
    (reject,) = events([hostile.data + NEXT])
    assert isinstance(reject, Reject)
    assert reject.status == hostile.status


@pytest.mark.parametrize(
    "body, decoded",
    [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"03\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"B\r\n0\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n\r\n\r\n\r\n"),
        (b'3;a;b=c;d="e f"\r\nabc\r\n0;z\r\n\r\n', b"abc"),
        (b"1\r\na\r\n2\r\nbc\r\n0\r\nT: x\r\nU: y\r\n\r\n", b"abc"),
        (b"0\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b""),
    ],
)
def test_next_request_begins_after_the_last_chunk(body: bytes, decoded: bytes) -> None:
    """Chunks are joined, extensions and trailers dropped."""
    first, second = events([HEAD + body + NEXT])
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert (first.body, second.target) == (decoded, b"/next")


@pytest.mark.parametrize("size", [8, 1000, BODY_LIMIT])
def test_chunked_body_of_64_kib_is_accepted_and_one_byte_more_rejected(size: int) -> None:
    """The chunks may be of eight bytes or one large chunk."""
    parts = [b"a" * min(size, BODY_LIMIT - start) for start in range(0, BODY_LIMIT, size)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    accepted = one(HEAD + data + b"0\r\n\r\n")
    assert isinstance(accepted, Request)
    assert accepted.body == b"a" * BODY_LIMIT
    refused = one(HEAD + data + b"1\r\nb\r\n0\r\n\r\n")
    assert refused == Reject(413, "The request body is larger than 65536 bytes")


@pytest.mark.parametrize("padding", [0, 1], ids=["fits", "one byte more"])
def test_chunk_framing_is_bounded(padding: int) -> None:
    """Extensions and trailers may take as much as a body, and no more."""
    room = 2 * BODY_LIMIT - len(b"1;\r\na\r\n0\r\n\r\n")
    event = one(HEAD + b"1;" + b"e" * (room + padding) + b"\r\na\r\n0\r\n\r\n")
    assert isinstance(event, Reject) == bool(padding)


def test_endless_trailer_is_rejected_as_a_too_large_body() -> None:
    assert events([HEAD + b"0\r\n", *(b"T: %b\r\n" % (b"t" * 1000) for _ in range(140))]) == [
        Reject(413, "The request body is larger than 65536 bytes")
    ]


def test_declared_chunk_size_allocates_no_memory() -> None:
    decoder = ChunkedBody(BODY_LIMIT)
    assert decoder.feed(bytearray(b"FFFFFFFFFFFFFFFF\r\nabc")) is None
    assert bytes(decoder.body) == b"abc"


def test_decoder_is_freed_without_the_garbage_collector() -> None:
    """Bodies of 64 KiB must not wait for the collector of cycles."""
    with counting_cycles() as found:
        for _ in range(20):
            assert isinstance(one(HEAD + b"3\r\nabc\r\n0\r\n\r\n"), Request)
            assert isinstance(one(HEAD + b"x\r\n"), Reject)
            assert events([HEAD + b"3\r\na"]) == []
        assert found() == 0
