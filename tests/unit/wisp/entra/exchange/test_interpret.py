"""A token endpoint's response becomes a token or a refusal, whatever it contains."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import UNIX, granted, jwt
from wisp.base.secret import Secret
from wisp.entra.exchange.interpret import claims_of, interpret, seconds_of
from wisp.entra.messages import Granted, Refused, Result

TRACE = "Trace ID: 9e0f1b1d-1 Correlation ID: 2f7b-2 Timestamp: 2026-11-02 10:00:00Z"


def answer(status: int, document: object, retry_after: str | None = None) -> Result:
    """Interpret a JSON response."""
    return interpret(status, retry_after, json.dumps(document).encode(), UNIX)


def refusal(code: int, error: str, text: str = "No.") -> dict[str, object]:
    """Return an error document in Entra's format."""
    return {
        "error": error,
        "error_description": f"AADSTS{code}: {text} {TRACE}",
        "error_codes": [code],
        "timestamp": "2026-11-02 10:00:00Z",
        "trace_id": "9e0f1b1d-1",
        "correlation_id": "2f7b-2",
        "error_uri": f"https://login.microsoftonline.com/error?code={code}",
    }


def success(**changes: object) -> dict[str, object]:
    """Return a response with a token and some fields changed; None removes a field."""
    document = {
        "token_type": "Bearer",
        "expires_in": 86399,
        "ext_expires_in": 86399,
        "access_token": "opaque",
        **changes,
    }
    return {name: value for name, value in document.items() if value is not None}


@pytest.mark.parametrize(
    "code, error",
    [
        (700016, "unauthorized_client"),
        (90002, "invalid_request"),
        (70021, "invalid_request"),
        (70023, "invalid_client"),
        (70025, "invalid_client"),
        (700211, "invalid_client"),
        (700212, "invalid_client"),
        (700213, "invalid_client"),
        (700024, "invalid_client"),
        (50027, "invalid_client"),
        (7000272, "invalid_client"),
        (7002138, "invalid_client"),
        (700027, "invalid_client"),
        (700222, "invalid_client"),
        (700236, "invalid_client"),
        (900023, "invalid_request"),
        (1002012, "invalid_scope"),
        (5002730, "invalid_request"),
        (500011, "invalid_resource"),
        (70011, "invalid_scope"),
        (900144, "invalid_request"),
        (7000215, "invalid_client"),
    ],
)
@pytest.mark.parametrize("status, expected", [(400, 400), (401, 401), (403, 403), (404, 400), (409, 400)])
def test_refusal_has_entras_error_text_and_code(code: int, error: str, status: int, expected: int) -> None:
    """The status is preserved if clients know it."""
    document = refusal(code, error)
    assert answer(status, document) == Refused(expected, error, str(document["error_description"]), "refused", code)


@pytest.mark.parametrize("error_codes", [None, [], ["700213"], [True], [-1], [10**12], "700213", {"a": 1}, [None]])
def test_code_is_read_from_the_text_without_error_codes(error_codes: object) -> None:
    result = answer(401, {**refusal(700213, "invalid_client"), "error_codes": error_codes})
    assert isinstance(result, Refused)
    assert result.aadsts == 700213


def test_403_never_contains_the_word_unreachable() -> None:
    """The Python, Go and Node SDKs give up managed identity for a 403 with that word."""
    result = answer(403, {"error": "access_denied", "error_description": "The server is Unreachable"})
    assert isinstance(result, Refused)
    assert result.status == 400


@pytest.mark.parametrize(
    "document, retry_after, wait",
    [
        pytest.param(refusal(90055, "throttled"), "17", 17.0, id="with Retry-After"),
        pytest.param({}, None, None, id="without anything"),
        pytest.param([], "x", None, id="with garbage"),
    ],
)
def test_429_is_returned_with_the_time_to_wait(document: object, retry_after: str | None, wait: float | None) -> None:
    result = answer(429, document, retry_after)
    assert isinstance(result, Refused)
    assert (result.status, result.error, result.cause) == (429, "too_many_requests", "throttled")
    assert result.retry_after == wait
    assert result.passing


@pytest.mark.parametrize(
    "status, body, reason",
    [
        pytest.param(500, b"oops", "HTTP 500", id="500"),
        pytest.param(503, b'{"error":"x","error_description":"later"}', "HTTP 503: later", id="503 with a reason"),
        pytest.param(302, b"", "AZURE_AUTHORITY_HOST", id="a redirect"),
        pytest.param(204, b"", "AZURE_AUTHORITY_HOST", id="no content"),
        pytest.param(404, b"<html>", "AZURE_AUTHORITY_HOST", id="a page that is not Entra's"),
        pytest.param(407, b"", "proxy", id="a proxy that wants credentials"),
        pytest.param(400, b'{"error": 7}', "HTTP 400", id="an error that is not text"),
        pytest.param(400, b'{"error": ""}', "HTTP 400", id="an empty error"),
        pytest.param(
            400,
            b'{"error":"temporarily_unavailable","error_description":"AADSTS90033: A transient error."}',
            "AADSTS90033",
            id="a transient error as a 400",
        ),
        pytest.param(400, b'{"error":"server_error"}', "HTTP 400", id="server_error as a 400"),
    ],
)
def test_temporary_fault_is_a_503(status: int, body: bytes, reason: str) -> None:
    """Clients retry a 503 and never a 400."""
    result = interpret(status, "7", body, UNIX)
    assert isinstance(result, Refused)
    assert (result.status, result.error, result.cause) == (503, "temporarily_unavailable", "unavailable")
    assert reason in result.description
    assert result.retry_after == 7.0


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(success(access_token=None), id="no token"),
        pytest.param(success(access_token=""), id="empty token"),
        pytest.param(success(access_token=7), id="a number for a token"),
        pytest.param(success(access_token="tökén"), id="a token beyond ASCII"),
        pytest.param(success(access_token="a\0b"), id="a token with a NUL"),
        pytest.param(success(access_token="a\r\nb"), id="a token of two lines"),
        pytest.param(success(access_token="x" * 65537), id="a huge token"),
        pytest.param(success(expires_in=None), id="no lifetime"),
        pytest.param(success(expires_in=0), id="no time to live"),
        pytest.param(success(expires_in=-5), id="a negative lifetime"),
        pytest.param(success(expires_in="soon"), id="a lifetime in words"),
        pytest.param(success(expires_in=True), id="a lifetime of true"),
        pytest.param(success(expires_in=float("inf")), id="an endless lifetime"),
        pytest.param(["access_token"], id="a list"),
        pytest.param("text", id="a string"),
    ],
)
def test_200_without_a_usable_token_is_a_temporary_fault(document: object) -> None:
    result = answer(200, document)
    assert isinstance(result, Refused)
    assert (result.status, result.cause) == (503, "unavailable")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' + b"1" * 5000 + b"}"], ids=lambda body: repr(body[:8])
)
def test_response_that_is_not_json_is_a_temporary_fault(body: bytes) -> None:
    assert isinstance(interpret(200, None, body, UNIX), Refused)
    assert isinstance(interpret(400, None, body, UNIX), Refused)


def test_token_is_returned_with_its_identity_claims() -> None:
    token = jwt(nbf=1, oid="o", xms_mirid="/m")
    assert answer(200, success(access_token=token, refresh_in="3600")) == Granted(
        Secret(token), 86399, 3600, 1, "o", "/m"
    )


@pytest.mark.parametrize("expires_in", ["3600", 3600, 3600.5])
def test_lifetime_may_be_a_number_or_a_string(expires_in: object) -> None:
    """Some versions of the endpoint send strings."""
    assert answer(200, success(expires_in=expires_in)) == granted("opaque", 3600)


@pytest.mark.parametrize("claims", [{}, {"nbf": "x", "oid": 7, "xms_mirid": "m" * 1025}, {"oid": None}])
def test_invalid_claims_are_omitted(claims: dict[str, object]) -> None:
    """The token is valid anyway."""
    token = jwt(**claims)
    assert answer(200, success(access_token=token)) == granted(token)


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "..", "a.é.c", "a.W10.c", "a.e30.c", "a.b.c.d.e"])
def test_opaque_token_has_no_claims(token: str) -> None:
    assert claims_of(token) == {}


@pytest.mark.parametrize(
    "header, seconds",
    [
        ("0", 0.0),
        (" 30 ", 30.0),
        ("99999999999", 999999999.0),
        ("Mon, 21 Sep 2026 14:13:30 GMT", 10.0),
        ("Mon, 21 Sep 2020 14:13:30 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    """Anything else counts as missing."""
    assert seconds_of(header, UNIX) == seconds


headers = st.none() | st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} .{0,20}")
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
names = ("error", "error_description", "error_codes", "access_token", "expires_in", "refresh_in")
fields = st.fixed_dictionaries({}, optional=dict.fromkeys(names, json_values))


@given(st.integers(100, 999), headers, st.binary(max_size=200) | fields.map(json.dumps).map(str.encode))
def test_any_response_becomes_a_result(status: int, retry_after: str | None, body: bytes) -> None:
    """A token with a lifetime, or a refusal with a valid HTTP status."""
    result = interpret(status, retry_after, body, UNIX)
    if isinstance(result, Granted):
        assert status == 200
        assert result.expires_in > 0
    else:
        assert result.status in (400, 401, 403, 429, 503)
        assert result.retry_after is None or result.retry_after >= 0
        assert result.aadsts is None or 0 < result.aadsts < 10**9


@given(
    st.integers(200, 599),
    st.text(max_size=60),
    st.dictionaries(st.text(max_size=10), st.text(max_size=60), min_size=1),
    st.sampled_from(["error", "error_description"]),
)
def test_tokens_in_error_texts_are_masked(status: int, around: str, claims: dict[str, str], place: str) -> None:
    """A repeated token or assertion is removed completely, wherever it occurs in the text."""
    token = jwt(**claims)
    document = {**refusal(50027, "invalid_client"), place: f"AADSTS50027: {around} {token} {around}"}
    result = answer(status, document)
    assert isinstance(result, Refused)
    for part in token.split("."):
        assert part not in result.error + result.description


@pytest.mark.parametrize("spelled", ['{"alg":1}', '{ "alg":1}', '{\n"alg":1}', '{\r\n"alg":1}'])
def test_token_of_any_layout_is_masked(spelled: str) -> None:
    """JSON may contain blanks; an encrypted token has five parts."""
    import base64  # noqa: PLC0415

    token = base64.urlsafe_b64encode(spelled.encode()).decode().rstrip("=") + ".cGF5bG9hZA.aXY.Y2lwaGVy.dGFn"
    result = answer(400, {"error": "x", "error_description": f"got {token}."})
    assert isinstance(result, Refused)
    assert not re.search("cGF5bG9hZA|aXY|Y2lwaGVy|dGFn", result.description)


def test_long_text_is_cut() -> None:
    result = answer(400, {"error": "e" * 9999, "error_description": "d" * 9999})
    assert isinstance(result, Refused)
    assert (len(result.error), len(result.description)) == (128, 4096)


@pytest.mark.parametrize("place", ["error", "error_description"])
@pytest.mark.parametrize("before", [*range(60, 140, 7), *range(4000, 4100, 13), *range(16_000, 16_400, 37)])
def test_token_at_the_cut_of_a_text_is_masked(place: str, before: int) -> None:
    """No part of it is left, whether the cut is before, in or after it."""
    token = jwt(sub="s" * 200)
    text = ("word " * before)[:before] + token + " word" * 4000
    result = answer(400, {**refusal(50027, "invalid_client"), place: text})
    assert isinstance(result, Refused)
    texts = result.error + result.description
    assert not any(part[:8] in texts for part in token.split("."))


def test_words_that_only_resemble_a_token_are_not_masked() -> None:
    text = "AADSTS500011: The resource principal named api://keyJoiner.greyJoy.example was not found."
    result = answer(400, {"error": "invalid_resource", "error_description": text})
    assert isinstance(result, Refused)
    assert result.description == text


def test_claims_that_entra_demands_are_kept() -> None:
    claims = json.dumps({"access_token": {"capolids": {"essential": True, "values": ["policy"]}}})
    refused = answer(400, {**refusal(53003, "access_denied"), "claims": claims})
    assert isinstance(refused, Refused)
    assert refused.claims == claims


@pytest.mark.parametrize("claims", [None, 5, "", {"a": 1}, "x" * 5000])
def test_claims_that_are_no_text_or_too_long_are_dropped(claims: object) -> None:
    refused = answer(400, {**refusal(53003, "access_denied"), "claims": claims})
    assert isinstance(refused, Refused)
    assert refused.claims is None
