"""Requests that may be forwarded to the node's metadata service, and what of the response comes back."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import token_request
from tests.unit.wisp.imds.readings import is_identity, readings
from wisp.http.messages import Request
from wisp.imds.answer import Refusal
from wisp.imds.passthrough import (
    ACKNOWLEDGE,
    MARK,
    NAMES,
    SEGMENTS,
    AlreadyForwarded,
    ForwardedRequest,
    judge,
    response_headers,
)
from wisp.imds.request import OtherPath, TokenRequest, decide

INSTANCE = "/metadata/instance?api-version=2021-02-01"
IDENTITY = "/metadata/identity/oauth2/token"


def passed(target: str) -> ForwardedRequest:
    """Return the forwarded request for a GET of `target`."""
    forward = judge(token_request(target), SEGMENTS)
    assert isinstance(forward, ForwardedRequest)
    return forward


def refused(request: Request, allowed: tuple[str, ...] = SEGMENTS) -> Refusal:
    """Return why `request` is not forwarded."""
    refuse = judge(request, allowed)
    assert isinstance(refuse, Refusal)
    return refuse


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize(
    "spelling, target",
    [
        ("/metadata/{}", "/metadata/{}"),
        ("/metadata/{}?api-version=2021-02-01&format=json", "/metadata/{}?api-version=2021-02-01&format=json"),
        ("//metadata/{}/", "/metadata/{}"),
        ("/Metadata/{}/Compute/vm_Id-1.~", "/Metadata/{}/Compute/vm_Id-1.~"),
        ("http://169.254.169.254/metadata/{}?a=b", "/metadata/{}?a=b"),
        ("/metadata/{}?", "/metadata/{}"),
        ("/metadata/{}?nonce=1234567890&x=$a,b:c+d", "/metadata/{}?nonce=1234567890&x=$a,b:c+d"),
    ],
)
def test_allowed_path_is_forwarded(segment: str, spelling: str, target: str) -> None:
    """In the client's case and with its query, without scheme, host and surrounding slashes."""
    assert passed(spelling.format(segment)).target == target.format(segment).encode()


NOT_PLAIN = [
    "/metadata",
    "/metadata/",
    "/",
    "/instance",
    "/metadata/instances",
    "/metadata/instance.",
    "/metadata/instance%20",
    "/metadata/instance/%41",
    "/metadata/inst%61nce",
    "/metadata%2finstance",
    "/metadata//instance",
    "/metadata/instance//compute",
    "/metadata/instance/./compute",
    "/metadata/instance/../instance",
    "/metadata/instance/.../compute",
    "/metadata/instance/..",
    "/metadata/./instance",
    "/x/../metadata/instance",
    "/./metadata/instance",
    "/metadata/instance;a=b",
    "/metadata;a=b/instance",
    "/metadata/instance/a;b",
    "/metadata\\instance",
    "/metadata/instance\\compute",
    "/metadata/instance/compute\\..\\..\\identity",
    "/metadata/instance#",
    "/metadata/instance?a=b#c",
    "/metadata/instance/a:b",
    "/metadata/instance/a@b",
    "/metadata/instance/a,b",
    "/metadata/instance/a=b",
    "/metadata/instance/a b",
    "/metadata/instance/a\x00b",
    "/metadata/instancé",
    "/metadata/identity/oauth2/token/x",
    "/metadata/identity",
    "/metadata/identity/info",
    "http://169.254.169.254",
    "ftp://169.254.169.254/metadata/instance",
    "169.254.169.254:80",
    "*",
    "",
]


@pytest.mark.parametrize("target", NOT_PLAIN)
def test_other_path_gets_404_with_the_allowed_names(target: str) -> None:
    """Anything but a plain path below an allowed name."""
    refuse = refused(token_request(INSTANCE)._replace(target=target.encode()))
    assert (refuse.status, refuse.error) == (404, "not_found")
    assert "/metadata/identity/oauth2/token and, of the node's metadata service, /metadata/instance" in (
        refuse.description
    )


def test_name_that_is_not_enabled_gets_404() -> None:
    """The answer does not list it."""
    assert isinstance(judge(token_request("/metadata/versions"), ("versions",)), ForwardedRequest)
    assert refused(token_request(INSTANCE), ("versions",)).description == (
        "Nothing is served but the token endpoint /metadata/identity/oauth2/token and, of the node's metadata service, "
        "/metadata/versions, in plain spelling"
    )
    assert refused(token_request(INSTANCE), ()).description == (
        "Nothing is served but the token endpoint /metadata/identity/oauth2/token, in plain spelling"
    )


@pytest.mark.parametrize(
    "request_, status, error, reason",
    [
        pytest.param(token_request(INSTANCE, metadata=""), 400, "bad_request_102", "Required metadata", id="no header"),
        pytest.param(token_request(INSTANCE, metadata="yes"), 400, "bad_request_102", "Required", id="another value"),
        pytest.param(
            token_request(INSTANCE, x_forwarded_for="10.0.0.1"), 400, "invalid_request", "X-Forwarded-For", id="proxied"
        ),
        pytest.param(token_request(INSTANCE, x_forwarded_for=" "), 400, "invalid_request", "X-Forw", id="by nobody"),
        pytest.param(token_request(INSTANCE)._replace(body=b"x"), 400, "invalid_request", "no body", id="a body"),
        *(
            pytest.param(token_request(f"{INSTANCE}{query}"), 400, "invalid_request", "query", id=f"query {query}")
            for query in (
                "/..",
                "?b",
                "&a=%2F..",
                "%2f..%2fidentity",
                "&a=%41",
                "&a=b;c",
                "&a=\\",
                "&a='",
                '&a="',
                "&a=|",
                "&a={}",
                "&a=@b",
                "&a=!",
            )
        ),
    ],
)
def test_request_without_authorisation_is_not_forwarded(
    request_: Request, status: int, error: str, reason: str
) -> None:
    """Nothing shows that the workload itself sent it, or it is malformed."""
    refuse = refused(request_)
    assert (refuse.status, refuse.error) == (status, error)
    assert reason in refuse.description


@pytest.mark.parametrize("mark", [b"1", b"", b"a-mark"])
def test_request_forwarded_by_a_sidecar_is_not_forwarded_again(mark: bytes) -> None:
    """Whatever else it contains."""
    request = token_request(INSTANCE, metadata="", x_forwarded_for="10.0.0.1")
    marked = request._replace(headers=(*request.headers, (MARK, mark)))
    assert judge(marked, SEGMENTS) == AlreadyForwarded(mark)
    assert isinstance(judge(marked._replace(method=b"PUT"), SEGMENTS), Refusal)
    assert isinstance(judge(marked, ("versions",)), Refusal)


@pytest.mark.parametrize("method", [b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"CONNECT", b"PATCH", b"TRACE", b"POST"])
def test_only_get_is_forwarded_by_default(method: bytes) -> None:
    """For scheduled events too: a POST would acknowledge an event of the node."""
    for target in (INSTANCE, "/metadata/scheduledevents"):
        refuse = refused(token_request(target, method=method))
        assert (refuse.status, refuse.allow) == (405, "GET")
        assert (ACKNOWLEDGE in refuse.description) is ("events" in target)


@pytest.mark.parametrize(
    "allowed, methods",
    [
        ((), None),
        (("instance",), None),
        (("scheduledevents",), "GET"),
        ((ACKNOWLEDGE,), "POST"),
        (("scheduledevents", ACKNOWLEDGE), "GET, POST"),
    ],
)
def test_acknowledging_events_needs_its_own_permission(allowed: tuple[str, ...], methods: str | None) -> None:
    """Each of the two names allows one method; a path that no name allows is not served."""
    for method in (b"GET", b"POST", b"PUT"):
        judged = judge(token_request("/metadata/scheduledevents", method=method), allowed)
        if methods is not None and method.decode() in methods:
            assert isinstance(judged, ForwardedRequest)
        else:
            assert isinstance(judged, Refusal)
            assert (judged.status, judged.allow) == ((404, None) if methods is None else (405, methods))


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("segment", ["instance", ACKNOWLEDGE, "identity"])
def test_permission_to_acknowledge_allows_no_other_path(segment: str, method: bytes) -> None:
    """The name is not a path, and no other path can be posted to."""
    allowed = (ACKNOWLEDGE, "instance") if method == b"POST" else (ACKNOWLEDGE,)
    assert isinstance(judge(token_request(f"/metadata/{segment}", method=method), allowed), Refusal)


def test_forwarded_request_has_its_own_host_and_allowed_headers() -> None:
    """The node sees its own name, one set of the sidecar's headers, and the client's allowed headers."""
    request = token_request(
        INSTANCE,
        metadata="True",
        host="evil",
        accept="application/json",
        user_agent="a client",
        x_ms_client_request_id="1-2",
        authorization="Bearer x",
        cookie="a=b",
        connection="keep-alive, metadata",
        te="trailers",
        upgrade="h2c",
        proxy_authorization="x",
        forwarded="for=x",
        via="1.1 x",
        x_identity_header="secret",
        accept_encoding="gzip",
        range="bytes=0-1",
    )
    forward = judge(request, SEGMENTS)
    assert isinstance(forward, ForwardedRequest)
    assert forward.encode(b"169.254.169.254", b"a-mark") == (
        b"GET /metadata/instance?api-version=2021-02-01 HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n"
        b"x-wisp-passed: a-mark\r\nmetadata: true\r\naccept: application/json\r\nuser-agent: a client\r\n"
        b"x-ms-client-request-id: 1-2\r\n\r\n"
    )


def test_acknowledgement_is_forwarded_with_its_body() -> None:
    """And the body's length and type."""
    request = token_request("/metadata/scheduledevents", method=b"POST", content_type="application/json")
    forward = judge(request._replace(body=b'{"StartRequests":[]}'), NAMES)
    assert isinstance(forward, ForwardedRequest)
    head, _, body = forward.encode(b"h:81", b"a-mark").partition(b"\r\n\r\n")
    assert head.splitlines() == [
        b"POST /metadata/scheduledevents HTTP/1.1",
        b"Host: h:81",
        b"Connection: close",
        b"x-wisp-passed: a-mark",
        b"metadata: true",
        b"content-type: application/json",
        b"Content-Length: 20",
    ]
    assert body == b'{"StartRequests":[]}'


def words(text: str) -> st.SearchStrategy[str]:
    """Return a strategy for one of the words of `text`."""
    return st.sampled_from(text.split())


_UP = words(".. .. .. . ..; ..;a=b %2e%2e %2E. %252e%252e %c0%ae%c0%ae %u002e%u002e %ef%bc%8e%ef%bc%8e ... x")
_SLASH = words("/ / / // /./ %2f %252f %25252F \\ \\ %5c %255c %c0%af %e0%80%af %ef%bc%8f %u2215 ;/ ;a=b/")
_IDENTITY = words(
    "identity Identity IDENTITY identity. identity%20 %69dentity %2569dentity identit%79 %u0069dentity %c1%a9dentity "
    "%ef%bd%89dentity identity;a=b identity;x identity%00 identity? identity# identity%23 %c4%b1dentity"
)
_ELSEWHERE = words("metadata Metadata instance versions attested compute oauth2 token http://h @ : ? # %")
_START = words("/metadata/ /Metadata/instance/ //metadata/versions/ /metadata/instance/x/ /metadata http://h")
_climbs = st.lists(st.tuples(_UP, _SLASH).map("".join), max_size=4).map("".join)
_others = st.lists(st.tuples(_ELSEWHERE | _UP | st.text(max_size=2), _SLASH).map("".join), max_size=2).map("".join)
_ends = st.lists(st.tuples(_SLASH, _ELSEWHERE).map("".join), max_size=2).map("".join)
targets = st.tuples(_START, _others, _climbs, _IDENTITY | _ELSEWHERE, _ends).map("".join)


@settings(max_examples=200)
@given(targets)
def test_no_forwarded_target_can_be_read_as_the_nodes_identity(target: str) -> None:
    """No reading of the target is below /metadata/identity, and every one is allowed."""
    forward = judge(token_request(INSTANCE)._replace(target=target.encode()), SEGMENTS)
    if isinstance(forward, ForwardedRequest):
        for reading in readings(forward.target) | readings(target.encode()):
            assert not is_identity(reading), reading
        assert forward.target.lower().split(b"?")[0].split(b"/")[2].decode() in SEGMENTS


@settings(max_examples=200)
@given(targets)
def test_target_readable_as_the_nodes_identity_is_not_forwarded(target: str) -> None:
    """It is a token request or rejected if any reading of it is below /metadata/identity."""
    request = token_request(INSTANCE)._replace(target=target.encode())
    path = target.encode().split(b"?")[0]
    if any(is_identity(reading) for reading in readings(path)):
        decision = decide(request)
        assert isinstance(decision, Refusal | TokenRequest) or isinstance(judge(request, SEGMENTS), Refusal)


@pytest.mark.parametrize(
    "target",
    [
        "/metadata/identity",
        "/METADATA//Identity/oauth2",
        "/metadata/%69dentity/x",
        "/metadata/%2569dentity/x",
        "/metadata/instance/..%2fidentity/x",
        "/metadata/instance/%252e%252e/identity",
        "/metadata\\identity",
        "/metadata/;a=b/identity;c",
        "/metadata;x/identity",
        "/metadata/instance/..;/identity",
        "/metadata/%c1%a9dentity",
        "/metadata/%ef%bd%89dentity",
        "/metadata%c0%afidentity",
        "/metadata/%u0069dentity",
        "/metadata/identity./x",
        "/metadata/identity%00/x",
        "http://host/metadata/identity",
        "/metadata/%c4%b1dentity",
    ],
)
def test_oracle_recognises_every_spelling_of_the_nodes_identity(target: str) -> None:
    assert any(map(is_identity, readings(target.encode())))


@given(
    st.lists(st.tuples(st.sampled_from([b"accept", b"user-agent", b"metadata", b"x-y"]), st.binary(max_size=12))),
    st.binary(max_size=50),
)
def test_forwarded_bytes_are_one_request(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Whatever the headers contain, h11 reads one request with this body."""
    fields = ((b"metadata", b"true"), *headers)
    request = token_request("/metadata/scheduledevents", method=b"POST")._replace(headers=fields, body=body)
    forward = judge(request, NAMES)
    assert isinstance(forward, ForwardedRequest)
    server = h11.Connection(h11.SERVER)
    server.receive_data(forward.encode(b"host", b"a-mark"))
    head, received = server.next_event(), b""
    while isinstance(event := server.next_event(), h11.Data):
        received += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert isinstance(head, h11.Request)
    assert (head.method, head.target, received) == (b"POST", b"/metadata/scheduledevents", body)
    assert [value for name, value in head.headers if name == b"metadata"] == [b"true"]
    assert server.trailing_data == (b"", False)


def test_only_headers_that_describe_the_response_come_back() -> None:
    """Headers between the node and the sidecar are removed."""
    headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"server", b"IMDS/150.870.65.1854"),
        (b"x-ms-request-id", b"1"),
        (b"retry-after", b"3"),
        (b"connection", b"close, x-ms-request-id"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"3"),
        (b"set-cookie", b"a=b"),
        (b"location", b"http://elsewhere/"),
        (b"x-ms-odd", b"a\x01b"),
        (b"x-ms-odder", b"\xff"),
    ]
    assert response_headers(headers) == (
        b"content-type: application/json; charset=utf-8\r\nserver: IMDS/150.870.65.1854\r\nx-ms-request-id: 1\r\n"
        b"retry-after: 3\r\n"
    )


def test_mark_is_a_lower_case_header_name() -> None:
    """It is compared with names in lower case."""
    assert MARK.islower()
    assert isinstance(decide(token_request(INSTANCE)), OtherPath)
