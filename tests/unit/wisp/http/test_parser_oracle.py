"""Compare the parser with h11: both read the same requests, and the parser accepts nothing that h11 rejects."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.wisp.http.oracle import ours, theirs
from tests.unit.wisp.http.wire import NEXT, cut, cut_points, streams

thorough = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


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


@thorough
@given(pipelines, cut_points)
def test_well_formed_requests_are_read_as_h11_reads_them(stream: bytes, cut_points: list[int]) -> None:
    """Compare methods, targets, headers, bodies, versions and persistence for any split of the input."""
    requests, rejected = theirs(stream)
    assert not rejected
    assert ours(cut(stream, cut_points)) == (requests, False)


@thorough
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


@thorough
@given(streams)
def test_every_accepted_request_is_also_accepted_by_h11(stream: bytes) -> None:
    """The input begins like HTTP and then deviates."""
    requests, _ = theirs(stream)
    served, _ = ours([stream])
    assert served == requests[: len(served)]
