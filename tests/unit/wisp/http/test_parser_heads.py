"""What the parser reads from one request head, and which heads it rejects."""

import pytest

from tests.unit.wisp.http.hostile import EVERY_HEAD, Hostile
from tests.unit.wisp.http.wire import GET, NEXT, POST, events, one
from wisp.http.messages import Reject, Request


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
