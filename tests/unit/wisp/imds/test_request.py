"""What a request to the metadata service asks for, and how the others are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import ARM, CLIENT_ID, token_request, token_target
from wisp.http.messages import Request
from wisp.imds.answer import Refusal
from wisp.imds.dialects import METADATA_SERVICE
from wisp.imds.request import (
    LONGEST_RESOURCE,
    TOKEN_PATH,
    OtherPath,
    Selector,
    TokenRequest,
    canonical,
    decide,
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
def test_a_token_request(target: str) -> None:
    """However it is spelled, it asks for a token of the pod's own identity."""
    assert decide(token_request(target)) == TokenRequest(ARM, None)


@pytest.mark.parametrize("version", [*METADATA_SERVICE.versions, "2021-08-01", "2025-04-08", "2031-01-31"])
def test_every_published_version_is_served_and_later_ones(version: str) -> None:
    """They ask for a token in the same way."""
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
def test_other_versions_are_refused(version: str) -> None:
    """The refusal names what is served."""
    refuse = decide(token_request(token_target(**{"api-version": version})))
    assert isinstance(refuse, Refusal)
    assert (refuse.status, refuse.error) == (400, "invalid_request")
    assert "not supported" in refuse.description
    assert all(each in refuse.description for each in (*METADATA_SERVICE.versions, "later dates"))


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_the_metadata_header_in_any_case(value: str) -> None:
    """Azure does not mind the case of its value."""
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
def test_a_selector(parameter: str, kind: str, value: str) -> None:
    """Each spelling names an identity."""
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
def test_names_in_another_case(query: str, expected: TokenRequest | None) -> None:
    """Mean the same: who names an identity never gets another one's token."""
    decision = decide(token_request(f"{TOKEN_PATH}?{query}"))
    assert decision == expected or (expected is None and isinstance(decision, Refusal) and decision.status == 400)


def test_names_in_another_case_in_a_form() -> None:
    """Names of parameters in a form have no case either."""
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
def test_several_selectors(query: str, given: list[tuple[str, str, str]] | None) -> None:
    """All are kept, in their order, with the parameters that gave them; empty ones do not count."""
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
    ids=["as MSAL", "upper case", "short", "long", "no hex", "Arabic", "blank", "longer in lower case", "empty"],
)
def test_the_hash_of_a_rejected_token(value: str, expected: str) -> None:
    """It is kept in lower case; what cannot be one is ignored."""
    parameters = {"xms_cc": "cp1", "token_sha256_to_refresh": value}
    assert decide(token_request(token_target(**parameters))) == TokenRequest(ARM, None, "cp1", revoked=expected)


@given(st.text(min_size=1, max_size=LONGEST_RESOURCE).filter(str.isprintable))
def test_the_resource_is_exactly_as_asked(resource: str) -> None:
    """Whatever it holds, it is neither tidied nor cut."""
    assert decide(token_request(token_target(resource))) == TokenRequest(resource, None)


@pytest.mark.parametrize(
    "request_, status, error, said",
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
def test_a_bad_request_is_refused_with_its_reason(request_: Request, status: int, error: str, said: str) -> None:
    """Each fault of a request has its error: a 400, which clients do not repeat."""
    refuse = decide(request_)
    assert isinstance(refuse, Refusal)
    assert (refuse.status, refuse.error) == (status, error)
    assert said in refuse.description


@pytest.mark.parametrize("method", [b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"CONNECT", b"PATCH", b"TRACE"])
def test_other_methods(method: bytes) -> None:
    """The token path takes GET and POST only and says so."""
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
def test_a_renewed_token_is_wanted(parameters: dict[str, str]) -> None:
    """A client that had its token refused by a resource does not want the same again."""
    assert decide(token_request(token_target(**parameters))) == TokenRequest(ARM, None, renew=True)


def test_capabilities() -> None:
    """What the client says it can do is kept as it says it."""
    assert decide(token_request(token_target(xms_cc="CP1"))) == TokenRequest(ARM, None, "CP1")


@pytest.mark.parametrize("value", ['CP1"}', "x" * 65, "a b"], ids=["a quote", "too long", "a blank"])
def test_capabilities_that_are_none(value: str) -> None:
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
def test_other_paths_are_passed_on(target: str, path: str) -> None:
    """They go on in lower case and without extra slashes around them, nothing decoded."""
    assert decide(token_request(target)) == OtherPath(path)


@given(st.text(st.characters(codec="ascii")))
def test_the_canonical_spelling_is_final(path: str) -> None:
    """Canonical twice is canonical once."""
    assert canonical(canonical(path)) == canonical(path)


@given(st.binary(max_size=100), st.lists(st.tuples(st.just(b"metadata"), st.binary(max_size=8)), max_size=2))
def test_nothing_raises(target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever the bytes, there is a decision."""
    request = Request(b"GET", b"/metadata/identity/oauth2/token?" + target, tuple(headers), b"", False, True)  # noqa: FBT003
    assert decide(request) is not None
