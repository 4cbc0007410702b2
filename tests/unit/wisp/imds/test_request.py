"""How requests to the metadata service are parsed, checked and decided."""

from urllib.parse import parse_qsl, unquote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import ARM, CLIENT_ID, token_request, token_target
from wisp.base.secret import Secret
from wisp.http.messages import Request
from wisp.imds.answer import Refusal
from wisp.imds.dialects import IDENTITY_HEADERS, METADATA_SERVICE, UNAUTHORIZED
from wisp.imds.passthrough import MARK
from wisp.imds.request import (
    FROM_WEB_PAGE,
    LONGEST_RESOURCE,
    MISDIRECTED,
    TOKEN_PATH,
    OtherPath,
    Selector,
    TokenRequest,
    canonical,
    check,
    decide,
    decisive_fields,
    is_local,
    parse_form,
    parse_target,
)

RESOURCE_ID = "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n"


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(token_target(), id="encoded"),
        pytest.param(f"{TOKEN_PATH}?api-version=2018-02-01&resource={ARM}", id="colon and slash left as they are"),
        pytest.param(token_target().replace("/token?", "/token/?"), id="a trailing slash"),
        pytest.param("/" + token_target(), id="two leading slashes"),
        pytest.param(token_target().replace("/metadata/identity", "/Metadata/Identity"), id="another case"),
        pytest.param("http://169.254.169.254" + token_target(), id="absolute form"),
        pytest.param(token_target(bypass_cache="false", unknown="x"), id="unknown parameters"),
        pytest.param(token_target(client_id="", object_id=""), id="empty selectors"),
    ],
)
def test_every_spelling_of_a_token_request_is_accepted(target: str) -> None:
    """It asks for a token of the pod's own identity."""
    assert decide(token_request(target)) == TokenRequest(ARM, None)


@pytest.mark.parametrize("version", [*METADATA_SERVICE.versions, "2021-08-01", "2025-04-08", "2031-01-31"])
def test_published_and_later_versions_are_served(version: str) -> None:
    assert decide(token_request(token_target(**{"api-version": version}))) == TokenRequest(ARM, None)


@pytest.mark.parametrize(
    "version",
    [
        "2018-02-30",
        "2025-13-45",
        "20180201",
        " 2018-02-01",
        "2018-02-01 ",
        "2025-04-07-preview",
        "2025-04-06",
        "latest",
    ],
)
def test_unknown_version_is_rejected_with_the_served_ones(version: str) -> None:
    refuse = decide(token_request(token_target(**{"api-version": version})))
    assert isinstance(refuse, Refusal)
    assert (refuse.status, refuse.error) == (400, "invalid_request")
    assert "not supported" in refuse.description
    assert all(version in refuse.description for version in (*METADATA_SERVICE.versions, "later dates"))


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_metadata_header_value_is_case_insensitive(value: str) -> None:
    """As in Azure."""
    assert isinstance(decide(token_request(metadata=value)), TokenRequest)


@pytest.mark.parametrize(
    "parameter, kind, value",
    [
        ("client_id", "client_id", CLIENT_ID),
        ("object_id", "object_id", CLIENT_ID),
        ("msi_res_id", "resource_id", RESOURCE_ID),
        ("mi_res_id", "resource_id", RESOURCE_ID),
    ],
)
def test_selector_is_read_in_each_spelling(parameter: str, kind: str, value: str) -> None:
    assert decide(token_request(token_target(**{parameter: value}))) == TokenRequest(ARM, Selector(kind, value))


@pytest.mark.parametrize(
    "query, expected",
    [
        ("API-Version=2018-02-01&Resource=a&Client_ID=b", TokenRequest("a", Selector("client_id", "b"))),
        ("api-version=2018-02-01&resource=a&MSI_RES_ID=/B", TokenRequest("a", Selector("resource_id", "/B"))),
        ("api-version=2018-02-01&resource=a&RESOURCE=b", None),
    ],
    ids=["names", "a resource id", "two resources"],
)
def test_query_parameter_names_are_case_insensitive(query: str, expected: TokenRequest | None) -> None:
    """A client that names an identity never gets the token of another one."""
    decision = decide(token_request(f"{TOKEN_PATH}?{query}"))
    assert decision == expected or (expected is None and isinstance(decision, Refusal) and decision.status == 400)


def test_form_parameter_names_are_case_insensitive() -> None:
    posted = token_request(TOKEN_PATH, method=b"POST")._replace(body=b"Resource=a&CLIENT_ID=b")
    assert decide(posted) == TokenRequest("a", Selector("client_id", "b"))


@pytest.mark.parametrize(
    "query, given",
    [
        ("client_id=b&Client_Id=c", [("client_id", "client_id", "b"), ("client_id", "client_id", "c")]),
        ("client_id=b&Object_Id=c", [("client_id", "client_id", "b"), ("object_id", "object_id", "c")]),
        ("msi_res_id=/b&mi_res_id=/c", [("msi_res_id", "resource_id", "/b"), ("mi_res_id", "resource_id", "/c")]),
        ("client_id=&mi_res_id=/c&object_id=", None),
    ],
    ids=["one twice", "two", "both spellings", "empty ones"],
)
def test_several_selectors_are_read_in_order(query: str, given: list[tuple[str, str, str]] | None) -> None:
    """With the names of their parameters; empty ones do not count."""
    decision = decide(token_request(f"{TOKEN_PATH}?api-version=2018-02-01&resource=a&{query}"))
    named = tuple((name, Selector(kind, value)) for name, kind, value in given or ())
    first = named[0][1] if named else Selector("resource_id", "/c")
    assert decision == TokenRequest("a", first, selectors=named)


DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "value, expected",
    [
        (DIGEST, DIGEST),
        (DIGEST.upper(), DIGEST),
        (DIGEST[:-1], ""),
        (DIGEST + "0", ""),
        ("g" + DIGEST[1:], ""),
        (DIGEST[:-1] + "\u0663", ""),
        (" " + DIGEST[1:], ""),
        ("\u0130" + DIGEST[2:], ""),
        ("", ""),
    ],
    ids=["as MSAL", "upper case", "short", "long", "not hex", "Arabic", "spaces", "longer in lower case", "empty"],
)
def test_hash_of_a_rejected_token_is_read_in_lower_case(value: str, expected: str) -> None:
    """An invalid hash is ignored."""
    parameters = {"xms_cc": "cp1", "token_sha256_to_refresh": value}
    assert decide(token_request(token_target(**parameters))) == TokenRequest(ARM, None, "cp1", revoked=expected)


@given(st.text(min_size=1, max_size=LONGEST_RESOURCE).filter(str.isprintable))
def test_resource_is_not_changed(resource: str) -> None:
    """It is neither normalised nor cut."""
    assert decide(token_request(token_target(resource))) == TokenRequest(resource, None)


@pytest.mark.parametrize(
    "request_, status, error, reason",
    [
        pytest.param(token_request(metadata=""), 400, "bad_request_102", "Required metadata header", id="no header"),
        pytest.param(token_request(metadata="false"), 400, "bad_request_102", "Required metadata", id="header false"),
        pytest.param(
            token_request(x_forwarded_for="10.0.0.1"), 400, "invalid_request", "X-Forwarded-For", id="forwarded"
        ),
        pytest.param(
            token_request(f"{TOKEN_PATH}?api-version=2018-02-01"),
            400,
            "invalid_request",
            "Required audience parameter not specified",
            id="no resource",
        ),
        pytest.param(token_request(token_target("")), 400, "invalid_request", "Required audience", id="empty resource"),
        pytest.param(
            token_request(f"{TOKEN_PATH}?resource={ARM}"), 400, "invalid_request", "2018-02-01", id="no api-version"
        ),
        pytest.param(
            token_request(token_target(**{"api-version": "2017-01-01"})),
            400,
            "invalid_request",
            "not supported",
            id="an old api-version",
        ),
        pytest.param(
            token_request(token_target() + "&resource=x"), 400, "invalid_request", "more than once", id="two resources"
        ),
        pytest.param(token_request(token_target("a\0b")), 400, "invalid_request", "characters", id="a NUL"),
        pytest.param(token_request(token_target("a\nb")), 400, "invalid_request", "characters", id="a line feed"),
        pytest.param(token_request(token_target("x" * 1025)), 400, "invalid_request", "longer", id="a long resource"),
        pytest.param(token_request("*", method=b"OPTIONS"), 400, "invalid_request", "must be a path", id="OPTIONS *"),
        pytest.param(token_request(f"{TOKEN_PATH}?a=%ff"), 400, "invalid_request", "UTF-8", id="not UTF-8"),
    ],
)
def test_bad_request_is_rejected_with_its_reason(request_: Request, status: int, error: str, reason: str) -> None:
    """Every fault gives a 400, which clients do not retry."""
    refuse = decide(request_)
    assert isinstance(refuse, Refusal)
    assert (refuse.status, refuse.error) == (status, error)
    assert reason in refuse.description


@pytest.mark.parametrize("method", [b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"CONNECT", b"PATCH", b"TRACE"])
def test_token_path_allows_only_get_and_post(method: bytes) -> None:
    refuse = decide(token_request(method=method))
    assert isinstance(refuse, Refusal)
    assert (refuse.status, refuse.allow) == (405, "GET, POST")


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"bypass_cache": "true"}, id="bypass_cache"),
        pytest.param({"bypass_cache": "True"}, id="bypass_cache in another case"),
        pytest.param({"claims": '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'}, id="a claims challenge"),
    ],
)
def test_client_can_ask_for_a_new_token(parameters: dict[str, str]) -> None:
    """A client whose token a resource rejected does not want the same one again."""
    assert decide(token_request(token_target(**parameters))) == TokenRequest(ARM, None, renew=True)


def test_client_capabilities_are_read_unchanged() -> None:
    assert decide(token_request(token_target(xms_cc="CP1"))) == TokenRequest(ARM, None, "CP1")


@pytest.mark.parametrize("value", ['CP1"}', "x" * 65, "a b"], ids=["a quote", "too long", "a blank"])
def test_invalid_capabilities_are_ignored(value: str) -> None:
    """Text that is not a list of names does not get into a claims request."""
    refuse = decide(token_request(token_target(xms_cc=value)))
    assert isinstance(refuse, Refusal)
    assert "xms_cc" in refuse.description


@pytest.mark.parametrize(
    "target, path",
    [
        ("/metadata/instance?api-version=2021-02-01", "/metadata/instance"),
        ("//Metadata/Instance/", "/metadata/instance"),
        ("/metadata/identity/getplatformmetadata", "/metadata/identity/getplatformmetadata"),
        ("/metadata/identity/%6fauth2/token", "/metadata/identity/%6fauth2/token"),
        ("/metadata/identity/../identity/oauth2/token", "/metadata/identity/../identity/oauth2/token"),
        ("/", "/"),
    ],
)
def test_other_path_is_forwarded_in_canonical_form(target: str, path: str) -> None:
    """In lower case and without extra slashes around it; nothing is decoded."""
    assert decide(token_request(target)) == OtherPath(path)


@given(st.text(st.characters(codec="ascii")))
def test_canonical_form_is_idempotent(path: str) -> None:
    assert canonical(canonical(path)) == canonical(path)


@given(st.binary(max_size=100), st.lists(st.tuples(st.just(b"metadata"), st.binary(max_size=8)), max_size=2))
def test_any_request_gives_a_decision(target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    request = Request(b"GET", b"/metadata/identity/oauth2/token?" + target, tuple(headers), b"", False, True)  # noqa: FBT003
    assert decide(request) is not None


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


queries = st.text(st.sampled_from("aZ09=&+%2fF;/?:@ .-_~é€😀"), max_size=60)


@given(queries)
def test_form_is_parsed_as_urllib_parses_it(query: str) -> None:
    """Names, values, blanks, escapes and their order match the standard library wherever the text is UTF-8."""
    try:
        expected = parse_qsl(query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            parse_form(query.encode())
    else:
        assert list(parse_form(query.encode())) == expected


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_parsing_reverses_urlencode(pairs: list[tuple[str, str]]) -> None:
    encodable = [(name, value) for name, value in pairs if (name + value).isascii() or _is_utf8(name + value)]
    assert list(parse_form(urlencode(encodable).encode())) == encodable


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@given(st.binary(max_size=80))
def test_any_bytes_give_an_absolute_ascii_path_or_none(target: bytes) -> None:
    """No target raises an exception."""
    parsed = parse_target(target)
    assert parsed is None or (parsed[0].startswith("/") and parsed[0].isascii())


@given(st.binary(max_size=40).filter(lambda text: b"&" not in text and b"=" not in text))
def test_value_is_decoded_as_urllib_decodes_it(value: bytes) -> None:
    """Broken escapes are left as they are."""
    try:
        expected = unquote_plus(value.decode(), errors="strict")
    except UnicodeDecodeError:
        return
    assert parse_form(b"name=" + value) == (("name", expected),)


@pytest.mark.parametrize(
    "target, path",
    [
        pytest.param(b"/metadata/identity/oauth2/token", "/metadata/identity/oauth2/token", id="origin form"),
        pytest.param(b"//metadata/x/", "//metadata/x/", id="slashes are preserved"),
        pytest.param(b"http://169.254.169.254/metadata/x", "/metadata/x", id="absolute form"),
        pytest.param(b"HTTPS://[::1]:80/metadata/x", "/metadata/x", id="absolute form, another scheme and case"),
        pytest.param(b"http://169.254.169.254", "/", id="absolute form without a path"),
        pytest.param(b"http://host?a=/b", "/", id="absolute form with a query alone"),
        pytest.param(b"http://host#/b", "/", id="absolute form with a fragment alone"),
        pytest.param(b"/a#?b=c", "/a", id="a fragment is dropped"),
        pytest.param(b"/%2e%2e/a", "/%2e%2e/a", id="nothing in a path is decoded"),
        pytest.param(b"?a=b", None, id="no path"),
        pytest.param(b"*", None, id="asterisk form"),
        pytest.param(b"example.com:443", None, id="authority form"),
        pytest.param(b"ftp://host/a", None, id="another scheme"),
        pytest.param("/é".encode(), None, id="a path beyond ASCII"),
        pytest.param(b"/a?b=%ff", None, id="a query that is not UTF-8"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_path_of_a_target_is_unchanged(target: bytes, path: str | None) -> None:
    """Scheme and authority are removed, everything else stays as sent; a target without a path is rejected."""
    parsed = parse_target(target)
    assert (parsed and parsed[0]) == path


def test_query_of_an_absolute_target_is_preserved() -> None:
    """A query with slashes is not a path."""
    assert parse_target(b"http://host?resource=https://x/") == ("/", (("resource", "https://x/"),))
