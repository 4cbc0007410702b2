"""Requests that every route rejects: for another host, sent by web pages, or with a duplicate deciding header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import token_request
from wisp.base.secret import Secret
from wisp.http.messages import Request
from wisp.imds.answer import Refusal
from wisp.imds.dialects import IDENTITY_HEADERS, UNAUTHORIZED
from wisp.imds.passthrough import MARK
from wisp.imds.request import (
    FROM_WEB_PAGE,
    MISDIRECTED,
    OtherPath,
    TokenRequest,
    check,
    decide,
    decisive_fields,
    is_local,
)

TARGETS = (None, "/metadata/instance", "/metadata/scheduledevents", "/metrics", "/readyz", "/nothing")
"""The token endpoint, what is passed on, the pages, and what is not served."""

DECIDING = (
    b"content-type", b"expect", b"host", b"metadata", b"origin", b"sec-fetch-site", b"secret", b"x-forwarded-for",
    b"x-identity-header", b"x-wisp-passed",
)  # fmt: skip


def with_headers(request: Request, *headers: tuple[bytes, bytes]) -> Request:
    """Return `request` with more headers after its own."""
    return request._replace(headers=(*request.headers, *headers))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.169.254:80", "169.254.169.254:8000", "localhost", "LocalHost:8000", "localhost:",
        "127.0.0.1", "127.0.0.1:65535", "127.255.255.254:1", "127.0.0.0", "[::1]", "[::1]:8000",
    ],
)  # fmt: skip
def test_known_host_is_accepted_with_any_port(host: str) -> None:
    """These are the hosts that SDKs and programs send."""
    assert is_local(host.encode())
    assert check(token_request(Host=host)._replace(headers=((b"host", host.encode()),))) is None


@pytest.mark.parametrize(
    "host",
    [
        "", ":", ":80", "rebind.test", "rebind.test:8000", "localhost.", "localhost.rebind.test", "rebind.localhost",
        "127.0.0.1.rebind.test", "127.0.0.1.", "127.0.0", "127.1", "127.0.0.256", "127.0.0.01", "127.0.0.1111",
        "127.0.0.x", "127.0.0.1.1", "127..0.1", "2130706433", "0x7f.0.0.1", "128.0.0.1", "0", "10.0.0.7:8000",
        "169.254.169.253", "169.254.169.254.rebind.test", "169.254.169.254@rebind.test", "localhost:80@rebind.test",
        "rebind.test:80:80", "localhost:http", "localhost:-1", "localhost::80", "localhost 80", "localhost,rebind.test",
        "[::1", "::1", "[::1]x", "[::2]:80", "[::ffff:127.0.0.1]", "[fd00::1]", "metadata.azure.internal",
        "169.254.169.254\uff0e", "127.0.0.\u0661",
    ],
)  # fmt: skip
def test_other_host_is_rejected_with_421(host: str) -> None:
    """This includes names that a DNS server could resolve to loopback, and other addresses."""
    assert not is_local(host.encode())
    for target in TARGETS:
        request = with_headers(token_request(target), (b"host", host.encode()))
        assert decide(request) == MISDIRECTED
    assert MISDIRECTED.status == 421


@given(st.text(alphabet="127.0.0.1localhost:[]69254abcxyz-_@%", max_size=30))
def test_accepted_host_is_a_known_name_or_loopback_address(host: str) -> None:
    """Every accepted host is one of three names or an address in 127.0.0.0/8, with at most one port."""
    if is_local(host.encode()):
        name = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() or host.endswith(":") else host
        numbers = name.split(".")
        is_address = len(numbers) == 4 and numbers[0] == "127" and all(0 <= int(number) < 256 for number in numbers)
        assert name.lower() in ("169.254.169.254", "localhost", "[::1]") or is_address


@pytest.mark.parametrize("target", TARGETS)
def test_request_without_host_is_accepted(target: str | None) -> None:
    """The parser lets only HTTP/1.0 requests omit it."""
    assert decide(token_request(target)) != MISDIRECTED


@pytest.mark.parametrize(
    "target, expected",
    [
        ("http://169.254.169.254/metrics", OtherPath("/metrics")),
        ("HTTP://LOCALHOST:8000/metrics", OtherPath("/metrics")),
        ("https://127.0.0.1/metrics", OtherPath("/metrics")),
        ("http://rebind.test/metrics", MISDIRECTED),
        ("http://rebind.test:8000", MISDIRECTED),
        ("https://rebind.test?/metrics", MISDIRECTED),
        ("http://rebind.test#@localhost/metrics", MISDIRECTED),
        ("http://localhost@rebind.test/metrics", MISDIRECTED),
        ("http:///metrics", MISDIRECTED),
    ],
)
def test_host_of_an_absolute_target_is_checked(target: str, expected: OtherPath | Refusal) -> None:
    """It must be acceptable as Host must: a proxy that receives the request would forward it there."""
    assert decide(token_request(target, Host="localhost")._replace(headers=((b"host", b"localhost"),))) == expected


def test_host_header_is_checked_with_an_absolute_target_too() -> None:
    request = with_headers(token_request("http://169.254.169.254/metrics"), (b"host", b"rebind.test"))
    assert decide(request) == MISDIRECTED


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "name, value",
    [
        (b"origin", b"http://rebind.test"),
        (b"origin", b"http://169.254.169.254"),
        (b"origin", b"null"),
        (b"origin", b""),
        (b"sec-fetch-site", b"same-origin"),
        (b"sec-fetch-site", b"same-site"),
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b""),
    ],
)
def test_request_of_a_web_page_is_rejected(target: str | None, name: bytes, value: bytes) -> None:
    """The headers that a browser adds are trusted on every route."""
    assert decide(with_headers(token_request(target), (name, value))) == FROM_WEB_PAGE
    assert FROM_WEB_PAGE.status == 403


def test_request_typed_into_a_browser_is_accepted() -> None:
    """It belongs to no web page: for example /metrics, viewed through kubectl port-forward."""
    request = with_headers(token_request("/metrics"), (b"host", b"localhost:8000"), (b"sec-fetch-site", b"none"))
    assert decide(request) == OtherPath("/metrics")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", DECIDING, ids=bytes.decode)
@pytest.mark.parametrize(
    "values", [(b"true", b"true"), (b"false", b"true"), (b"", b"")], ids=["same", "other", "empty"]
)
def test_duplicate_deciding_header_is_rejected(target: str | None, name: bytes, values: tuple[bytes, bytes]) -> None:
    """Programs differ on which of two values counts."""
    headers = tuple((name, value) for value in values)
    refuse = decide(token_request(target)._replace(headers=(*headers, (b"x", b"y"))))
    assert isinstance(refuse, Refusal)
    assert (refuse.status, refuse.error) == (400, "invalid_request")
    assert f"more than one {name.decode()} header" in refuse.description


def test_other_headers_may_be_repeated() -> None:
    """Proxies add such headers again."""
    request = with_headers(
        token_request(), (b"via", b"1.1 a"), (b"via", b"1.1 b"), (b"accept", b"a"), (b"accept", b"b")
    )
    assert isinstance(decide(request), TokenRequest)


def test_deciding_fields_contain_every_deciding_header() -> None:
    """The route of a request is cached by these fields."""
    fields = tuple((name, b"1") for name in DECIDING)
    request = Request(
        b"GET",
        b"/",
        (*fields, (b"user-agent", b"x"), (b"x-ms-client-request-id", b"y")),
        b"",
        http_1_0=False,
        keep_alive=True,
    )
    assert decisive_fields(request) == fields
    assert {*IDENTITY_HEADERS, MARK} <= set(DECIDING)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT"])
def test_required_identity_header_guards_every_route_but_health(target: str | None, method: bytes) -> None:
    secret = Secret("an-identity-header")
    for headers in ((), ((b"x-identity-header", b"other"),), ((b"secret", b""),)):
        request = with_headers(token_request(target, method=method), *headers)
        decision = decide(request, secret, header_required=True)
        assert (decision == UNAUTHORIZED) is (target != "/readyz")
    for name in (b"x-identity-header", b"secret"):
        with_header = with_headers(token_request(target, method=method), (name, b"an-identity-header"))
        assert decide(with_header, secret, header_required=True) != UNAUTHORIZED


def test_required_identity_header_without_a_configured_value_rejects_everything() -> None:
    """There is no value to compare with."""
    assert decide(token_request("/metrics", x_identity_header="x"), None, header_required=True) == UNAUTHORIZED
