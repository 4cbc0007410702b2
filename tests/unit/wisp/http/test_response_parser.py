"""The response parser: the same result for any split of the input, and nothing but a response is accepted."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.http.wire import cut, cut_points
from wisp.http.response_parser import OVERHEAD_LIMIT, Malformed, ResponseHead, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
_lines = st.sampled_from(
    [
        OK,
        b"HTTP/1.0 404 Not Found\r\n",
        b"HTTP/1.1 100 Continue\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 1_0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Upgrade: x\r\nConnection: upgrade\r\n",
        b"X-Ms-A:  b \r\n",
        b"3\r\nabc\r\n",
        b"3;a=b\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: x\r\n\r\n",
        b"abc",
        b"\n",
        b"\0",
    ]
)
streams = st.lists(_lines | st.binary(max_size=4), max_size=8).map(b"".join)


def read(pieces: Iterable[bytes]) -> tuple[ResponseHead | None, bytes, bool, bool]:
    """Return the head, the body, whether it is complete at the end of input, and whether it was malformed."""
    received, body = ResponseReader(), b""
    for piece in pieces:
        fed = received.feed(piece)
        if isinstance(fed, Malformed):
            assert fed.reason
            return received.head, body, False, True
        body += fed
    return received.head, body, received.ended(), False


@given(streams, cut_points)
def test_any_split_gives_the_same_response(stream: bytes, splits: list[int]) -> None:
    whole, pieces = read([stream]), read(cut(stream, splits))
    assert whole[3] == pieces[3]
    if not whole[3]:
        assert whole == pieces


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_arbitrary_bytes_raise_no_exception(pieces: list[bytes]) -> None:
    read(pieces)
    read([OK, b"Transfer-Encoding: chunked\r\n\r\n", *pieces])


def test_head_has_lower_case_names_and_stripped_values() -> None:
    """Trailers are not part of it."""
    head, body, whole, _ = read(
        [OK + b"X-Ms-A:  b \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n"]
    )
    assert head == ResponseHead(200, ((b"x-ms-a", b"b"), (b"transfer-encoding", b"chunked")), None)
    assert (body, whole) == (b"abc", True)


def test_second_response_is_not_part_of_the_first_body() -> None:
    """Even in the same packet."""
    answer = OK + b"Content-Length: 3\r\n\r\nabc"
    _, body, whole, _ = read([answer * 2])
    assert (body, whole) == (b"abc", True)


@pytest.mark.parametrize("size, fits", [(OVERHEAD_LIMIT, True), (OVERHEAD_LIMIT + 1, False)], ids=["fits", "too long"])
def test_head_of_16_kib_is_accepted_and_one_byte_more_rejected(size: int, fits: bool) -> None:  # noqa: FBT001
    """The empty line is included, in one piece or in many."""
    frame = OK + b"X: \r\nContent-Length: 0\r\n\r\n"
    data = frame.replace(b"X: ", b"X: " + b"y" * (size - len(frame)))
    for pieces in ([data], cut(data, range(0, size, 1000))):
        assert read(pieces)[3] is not fits


def test_returned_body_is_not_held_in_memory() -> None:
    received = ResponseReader()
    received.feed(OK + b"Content-Length: 100000000\r\n\r\n")
    for _ in range(100):
        assert received.feed(b"x" * 16_384) == b"x" * 16_384
    assert not received._message.body
    assert not received._buffer
