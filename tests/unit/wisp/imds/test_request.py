"""What a request to the metadata service asks for, and how other requests are rejected."""

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
