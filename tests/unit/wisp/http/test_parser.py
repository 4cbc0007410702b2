"""The request parser: heads, bodies and limits, for any split of the input, and compared with h11."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.cycles import counting_cycles
from tests.unit.wisp.http.hostile import ALL, CHUNKS, EVERY_HEAD, Hostile
from tests.unit.wisp.http.oracle import ours, theirs
from tests.unit.wisp.http.wire import GET, NEXT, POST, cut, cut_points, drained, events, one, outcome, streams
from wisp.http.messages import Reject, Request
from wisp.http.parser import (
    BODY_LIMIT,
    HEAD_LIMIT,
    HEADERS_LIMIT,
    TARGET_LIMIT,
    ChunkedBody,
    Continue,
    HeadCache,
    RequestReader,
)

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


def request(data: bytes) -> Request:
    """Return the only event of `data`, which is a request."""
    event = one(data)
    assert isinstance(event, Request)
    return event


@pytest.mark.parametrize("hostile", EVERY_HEAD.values(), ids=EVERY_HEAD)
def test_hostile_heads_end_the_connection(hostile: Hostile) -> None:
    """An ambiguous head is rejected with its status, and nothing after it is served."""
    (reject,) = events([hostile.data + NEXT])
    assert isinstance(reject, Reject)
    assert reject.status == hostile.status
    assert reject.reason


def test_request_holds_what_was_sent() -> None:
    """Method and target are unchanged, header names are in lower case, values have no surrounding blanks."""
    sent = b"GET /a?b=%20c HTTP/1.1\r\nHoSt:x\r\nMETADATA:\t true \r\nX-E:\r\nX-E: a  b\xe9\r\n\r\n"
    assert request(sent) == Request(
        b"GET",
        b"/a?b=%20c",
        ((b"host", b"x"), (b"metadata", b"true"), (b"x-e", b""), (b"x-e", b"a  b\xe9")),
        b"",
        http_1_0=False,
        keep_alive=True,
    )


@pytest.mark.parametrize(
    "target", [b"/", b"//", b"/a?b#c", b"http://169.254.169.254/a", b"http://h", b"*", b"/%2f..", b"/" + b"a" * 8191]
)
def test_every_form_of_target_is_accepted(target: bytes) -> None:
    """The parser does not decide whether a target exists."""
    assert request(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n").target == target


def test_connect_target_in_authority_form_is_accepted() -> None:
    """The router rejects CONNECT requests."""
    assert request(b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n").target == b"h:80"


@pytest.mark.parametrize(
    "version, connection, expected",
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: keep-alive\r\n", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: Close\r\n", False),
        (b"1.1", b"Connection: x, close\r\n", False),
        (b"1.1", b"Connection: x\r\nConnection: close\r\n", False),
        (b"1.1", b"Connection: keep-alive, close\r\n", False),
        (b"1.1", b"Connection: closed\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
        (b"1.0", b"Connection: close, keep-alive\r\n", False),
    ],
)
def test_connection_persistence_follows_version_and_header(
    version: bytes, connection: bytes, *, expected: bool
) -> None:
    """RFC 9112 §9.3: close wins, HTTP/1.1 persists, HTTP/1.0 persists only on request."""
    parsed = request(b"GET / HTTP/" + version + b"\r\nHost: x\r\n" + connection + b"\r\n")
    assert (parsed.keep_alive, parsed.http_1_0) == (expected, version == b"1.0")


def test_http_1_0_request_needs_no_host_header() -> None:
    assert request(b"GET / HTTP/1.0\r\n\r\n").headers == ()


def test_upgrade_offer_is_ignored() -> None:
    """Java offers h2c on every request; the framing of the body is unaffected (RFC 9110 §7.8)."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    first, second = events([POST + offer + b"Content-Length: 3\r\n\r\nabc" + NEXT])
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert (first.body, second.target) == (b"abc", b"/next")


def test_first_value_of_a_header_is_found_by_lower_case_name() -> None:
    """The result is None for a missing header."""
    parsed = request(GET + b"A: 1\r\na: 2\r\n\r\n")
    assert (parsed.header(b"a"), parsed.header(b"b")) == (b"1", None)


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


without_deadline = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


_token = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=20
)
_names = _token.filter(
    lambda name: name.lower() not in {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"}
)
_inner = st.text([chr(code) for code in [*range(0x21, 0x7F), *range(0x80, 0x100)]] + [" ", "\t"], max_size=30)
_values = _inner.map(lambda text: text.strip(" \t").encode("latin-1"))
_blanks = st.sampled_from([b"", b" ", b"\t ", b"  "])
_lines = st.builds(
    lambda name, before, value, after: b"%b:%b%b%b\r\n" % (name.encode(), before, value, after),
    _names, _blanks, _values, _blanks,
)  # fmt: skip
_query = st.text("abcXYZ019-._~!$&'()*+,;=:@/?%{}|^`\"<>\\[]", max_size=40).map(str.encode)
_targets = st.builds(
    lambda start, rest: start + rest, st.sampled_from([b"/", b"//", b"http://h/", b"https://h:1/?"]), _query
)
_methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"])
_connections = st.sampled_from(
    [b"", b"", b"", b"Connection: close\r\n", b"Connection: Keep-Alive\r\n", b"connection: x, Close\r\n"]
)
_bodies = st.binary(max_size=60)
_extensions = st.sampled_from([b"", b";a", b";a=b;c", b';d="e f"'])
_chunks = st.builds(
    lambda data, extension: b"%X%b\r\n%b\r\n" % (len(data), extension, data), st.binary(min_size=1), _extensions
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw one well-formed request of HTTP/1.1 or 1.0."""
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]))
    lines = [b"Host: h\r\n", draw(_connections), *draw(st.lists(_lines, max_size=4))]
    kind = draw(st.sampled_from(["none", "sized", "chunked" if version == b"1.1" else "sized"]))
    body = b"" if kind == "none" else draw(_bodies)
    if kind == "sized":
        lines.append(b"Content-Length: %d\r\n" % len(body))
    elif kind == "chunked":
        lines.append(b"Transfer-Encoding: Chunked\r\n")
        body = b"".join(draw(st.lists(_chunks, max_size=4)))
        body += b"0" + draw(_extensions) + b"\r\n" + b"".join(draw(st.lists(_lines, max_size=2))) + b"\r\n"
    if body and version == b"1.1":
        lines.append(draw(st.sampled_from([b"", b"Expect: 100-continue\r\n"])))
    head = b"".join(draw(st.permutations(lines)))
    return b"%b %b HTTP/%b\r\n%b\r\n%b" % (draw(_methods), draw(_targets), version, head, body)


_damage = st.binary(max_size=2) | st.sampled_from([b"\r\n", b" ", b"\t", b"\n ", b":", b"0"])
pipelines = st.lists(requests(), min_size=1, max_size=4).map(b"".join)


@without_deadline
@given(pipelines, cut_points)
def test_well_formed_requests_are_read_as_h11_reads_them(stream: bytes, cut_points: list[int]) -> None:
    """Compare methods, targets, headers, bodies, versions and persistence for any split of the input."""
    requests, rejected = theirs(stream)
    assert not rejected
    assert ours(cut(stream, cut_points)) == (requests, False)


@without_deadline
@given(pipelines, st.integers(0), st.sampled_from([0, 1]), _damage)
def test_damaged_request_is_read_as_h11_reads_it_or_rejected(
    stream: bytes, at: int, removed: int, inserted: bytes
) -> None:
    """One byte is changed, dropped or added."""
    at %= len(stream) + 1
    damaged = stream[:at] + inserted + stream[at + removed :] + NEXT
    requests, _ = theirs(damaged)
    served, _ = ours([damaged])
    assert served == requests[: len(served)]


@without_deadline
@given(streams)
def test_every_accepted_request_is_also_accepted_by_h11(stream: bytes) -> None:
    """The input begins like HTTP and then deviates."""
    requests, _ = theirs(stream)
    served, _ = ours([stream])
    assert served == requests[: len(served)]
