"""The request parser: the same events for any split of the input, within limits and in bounded memory."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.wisp.http.hostile import ALL, Hostile
from tests.unit.wisp.http.wire import GET, NEXT, POST, cut, cut_points, drained, events, one, outcome, streams
from wisp.http.messages import Reject, Request
from wisp.http.parser import BODY_LIMIT, HEAD_LIMIT, HEADERS_LIMIT, TARGET_LIMIT, Continue, HeadCache, RequestReader

READ = 16 * 1024
"""What `Peer` reads at most at a time."""

thorough = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@thorough
@given(streams, cut_points)
@example(b"GET /" + b"a" * 9000 + b"\n" + b"b" * 9000 + b"\r\n\r\n", [8500, 17000])
@example(GET + b"x: y\r\n" * 200 + b"x: y\n", [500, 1000])
@example(GET + b"x: y\r\n" * 90 + b"x: y\n" + b"x: y\r\n" * 90, [500, 1000])
@example(GET + b"x: " + b"b" * 17000 + b"\n\r\n\r\n", [16500])
@example(POST + b"Transfer-Encoding: chunked\r\n\r\n11170\r\n" + b"c" * 70000 + b"x", [69000])
@example(POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 140_000 + b"\0\r\n", [139_000])
def test_any_split_gives_the_same_events(stream: bytes, cut_points: list[int]) -> None:
    """Any bytes give the same requests and the same rejection, including its reason."""
    assert outcome(cut(stream, cut_points)) == outcome([stream])


@thorough
@given(streams.filter(lambda stream: len(stream) < 2000))
def test_byte_by_byte_input_gives_the_same_events(stream: bytes) -> None:
    assert outcome(stream[at : at + 1] for at in range(len(stream))) == outcome([stream])


@pytest.mark.parametrize("hostile", ALL.values(), ids=ALL)
def test_hostile_requests_are_rejected_byte_by_byte(hostile: Hostile) -> None:
    """The status is the same as for a request that arrives at once."""
    data = hostile.data + NEXT
    (reject,) = outcome(data[at : at + 1] for at in range(len(data)))
    assert isinstance(reject, Reject)
    assert reject.status == hostile.status


@thorough
@given(st.lists(st.binary(max_size=200)))
def test_arbitrary_bytes_raise_no_exception(pieces: list[bytes]) -> None:
    """Every input is a request, a rejection or incomplete; nothing follows a rejection."""
    seen = events(pieces)
    assert not any(isinstance(event, Reject) for event in seen[:-1])


@thorough
@given(st.lists(streams, max_size=4), cut_points)
def test_shared_memo_gives_the_same_events(streams: list[bytes], cut_points: list[int]) -> None:
    memo = HeadCache()
    for stream in [*streams, *streams]:
        assert outcome([stream], memo) == outcome([stream])
        assert outcome(cut(stream, cut_points), memo) == outcome([stream])


@thorough
@given(streams, cut_points)
def test_memory_is_bounded(stream: bytes, cut_points: list[int]) -> None:
    """Between reads the parser holds less than one body with its framing, and nothing after a rejection."""
    connection = RequestReader()
    for piece in cut(stream, [*cut_points, *range(0, len(stream), READ)]):
        last = drained(connection, piece)[-1:]
        decoded = 0 if connection._body is None else len(connection._body.body)
        assert len(connection.buffer) < (HEAD_LIMIT + 1 if connection._head is None else BODY_LIMIT)
        assert decoded <= BODY_LIMIT
        if last and isinstance(last[0], Reject):
            assert connection.receive(NEXT * 100) is None
            assert connection.between_messages


def padded(size: int) -> bytes:
    """Return a head of exactly `size` bytes."""
    return GET + b"x: " + b"y" * (size - len(GET) - len(b"x: \r\n\r\n")) + b"\r\n\r\n"


def with_target(size: int) -> bytes:
    """Return a head with a target of exactly `size` bytes."""
    return b"OPTIONS /" + b"t" * (size - 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n"


def with_body(size: int) -> bytes:
    """Return a request with a body of exactly `size` bytes."""
    return POST + b"Content-Length: %d\r\n\r\n" % size + b"b" * size


def with_headers(count: int) -> bytes:
    """Return a head of exactly `count` headers."""
    return GET + b"x:y\r\n" * (count - 1) + b"\r\n"


@pytest.mark.parametrize(
    "fits, one_more, status",
    [
        (padded(HEAD_LIMIT), padded(HEAD_LIMIT + 1), 431),
        (with_target(TARGET_LIMIT), with_target(TARGET_LIMIT + 1), 414),
        (with_body(BODY_LIMIT), with_body(BODY_LIMIT + 1), 413),
        (with_headers(HEADERS_LIMIT), with_headers(HEADERS_LIMIT + 1), 431),
    ],
    ids=["head", "target", "body", "headers"],
)
def test_limits_are_exact(fits: bytes, one_more: bytes, status: int) -> None:
    """16 KiB of head, 8 KiB of target, 64 KiB of body and 100 headers are accepted; one more is rejected."""
    request, following = events([fits + NEXT])
    assert isinstance(request, Request)
    assert isinstance(following, Request)
    (reject,) = events([one_more + NEXT])
    assert isinstance(reject, Reject)
    assert reject.status == status


@pytest.mark.parametrize(
    "beginning, status",
    [
        (b"GET /" + b"t" * (TARGET_LIMIT + 40), 414),
        (b"G" * (TARGET_LIMIT + 40), 414),
        (GET + b"x: " + b"y" * HEAD_LIMIT, 431),
        (GET + b"x: y\r\n" * 4000, 431),
        (b"GET / HTTP/1.1\n", 400),
        (POST + b"Content-Length: 65537\r\n\r\n", 413),
    ],
    ids=["target", "method", "header", "headers", "bare LF", "body"],
)
def test_request_over_a_limit_is_rejected_before_it_is_complete(beginning: bytes, status: int) -> None:
    (reject,) = events([beginning])
    assert isinstance(reject, Reject)
    assert reject.status == status


def test_each_call_returns_one_pipelined_request() -> None:
    """The caller can stop between requests."""
    connection = RequestReader()
    first = connection.receive(NEXT * 3)
    assert isinstance(first, Request)
    assert not connection.between_messages
    assert [connection.next_event(), connection.next_event(), connection.next_event()] == [first, first, None]
    assert connection.between_messages


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n" * 20_000])
def test_empty_lines_between_requests_are_ignored(blank: bytes) -> None:
    """Old clients send an extra line end after a body (RFC 9112 §2.2). It takes no memory and starts no message."""
    connection = RequestReader()
    assert connection.receive(blank) is None
    assert connection.between_messages
    assert len(drained(connection, blank + NEXT + blank + NEXT)) == 2


class TestExpect:
    """Expect: 100-continue (RFC 9110 §10.1.1)."""

    head = POST + b"Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n"

    def test_waiting_client_gets_one_100_continue(self) -> None:
        """It gets only one, however slowly the body arrives."""
        seen = events([self.head, b"a", b"b", b"c"])
        assert [type(event) for event in seen] == [Continue, Request]

    def test_no_100_continue_for_a_body_that_has_arrived(self) -> None:
        assert [type(event) for event in events([self.head + b"a", b"bc"])] == [Request]

    def test_second_request_gets_its_own_100_continue(self) -> None:
        seen = events([self.head, b"abc", self.head, b"abc"])
        assert [type(event) for event in seen] == [Continue, Request, Continue, Request]

    def test_chunked_body_gets_100_continue(self) -> None:
        head = POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert [type(event) for event in events([head, b"0\r\n\r\n"])] == [Continue, Request]

    @pytest.mark.parametrize(
        "head",
        [
            b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
            GET + b"Expect: 100-continue\r\n\r\n",
            POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        ],
        ids=["HTTP/1.0", "no body", "empty body"],
    )
    def test_no_100_continue_for_http_1_0_or_without_a_body(self, head: bytes) -> None:
        """HTTP/1.0 has no interim responses, and a request without a body is complete."""
        assert not any(isinstance(event, Continue) for event in events([head]))

    def test_too_large_body_gets_413_instead_of_100_continue(self) -> None:
        reject = one(POST + b"Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n")
        assert isinstance(reject, Reject)


class TestMemo:
    """The memo of parsed request heads."""

    def test_known_head_is_not_parsed_again(self) -> None:
        """The memo is shared by all connections."""
        memo = HeadCache()
        (first,) = outcome([NEXT], memo)
        (again,) = outcome([NEXT], memo)
        assert first is again

    @pytest.mark.parametrize("data", [padded(1025), b"GET /\r\n\r\n"], ids=["long", "malformed"])
    def test_long_and_malformed_heads_are_not_remembered(self, data: bytes) -> None:
        memo = HeadCache()
        events([data], memo)
        assert not memo
        assert not memo.with_body

    def test_only_the_head_of_a_request_with_a_body_is_remembered(self) -> None:
        memo = HeadCache()
        first, second = (outcome([with_body(3).replace(b"bbb", body)], memo) for body in (b"one", b"two"))
        assert not memo
        assert len(memo.with_body) == 1
        assert [first, second] == [outcome([with_body(3).replace(b"bbb", body)]) for body in (b"one", b"two")]

    def test_memo_size_is_bounded(self) -> None:
        """A workload that never repeats a request does not fill it."""
        memo = HeadCache()
        for number in range(1000):
            events([b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number], memo)
            events([b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb" % number], memo)
        assert len(memo) + len(memo.with_body) <= 32


def test_body_limit_can_be_set() -> None:
    """The webhook accepts larger bodies than the sidecar."""
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n" + b"b" * 65537
    assert isinstance(RequestReader(body_limit=65537).receive(body), Request)
    assert isinstance(RequestReader(body_limit=65536).receive(body), Reject)
