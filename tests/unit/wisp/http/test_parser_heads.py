"""What one head says, and which heads are refused."""

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
    """A head that could be read otherwise is refused by its status, and nothing after it is served."""
    (reject,) = events([hostile.data + NEXT])
    assert isinstance(reject, Reject)
    assert reject.status == hostile.status
    assert reject.reason


def test_a_request_is_what_was_sent() -> None:
    """Method and target come as sent, names in lower case, values without the blanks around them."""
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
def test_every_form_of_target_is_passed_on(target: bytes) -> None:
    """Whether a target is one of ours is not decided here."""
    assert request(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n").target == target


def test_the_authority_form_is_passed_on() -> None:
    """CONNECT is a request like any other, to be refused by who routes."""
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
def test_whether_the_connection_goes_on(version: bytes, connection: bytes, *, expected: bool) -> None:
    """RFC 9112 §9.3: close wins, 1.1 goes on, 1.0 only when asked to."""
    parsed = request(b"GET / HTTP/" + version + b"\r\nHost: x\r\n" + connection + b"\r\n")
    assert (parsed.keep_alive, parsed.http_1_0) == (expected, version == b"1.0")


def test_the_oldest_needs_no_host() -> None:
    """HTTP/1.0 knows no Host header."""
    assert request(b"GET / HTTP/1.0\r\n\r\n").headers == ()


def test_an_offer_to_switch_is_ignored() -> None:
    """Java offers h2c on every request; the body's framing stays as it is (RFC 9110 §7.8)."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    first, second = events([POST + offer + b"Content-Length: 3\r\n\r\nabc" + NEXT])
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert (first.body, second.target) == (b"abc", b"/next")


def test_the_first_value_of_a_header() -> None:
    """A header is found by its name in lower case; one that is not there is None."""
    parsed = request(GET + b"A: 1\r\na: 2\r\n\r\n")
    assert (parsed.header(b"a"), parsed.header(b"b")) == (b"1", None)
