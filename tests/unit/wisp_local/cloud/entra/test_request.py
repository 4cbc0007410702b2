"""Reading a JWT that may be anything."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp_local.cloud.entra.refusals import Refused
from wisp_local.cloud.entra.request import Assertion, read_assertion

HEADER = {"alg": "RS256", "kid": "k"}
CLAIMS = {"iss": "https://i/", "sub": "s", "aud": ["a"], "exp": 2, "nbf": 1}


def _jwt(header: object, claims: object) -> str:
    parts = (json.dumps(part).encode() for part in (header, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "c2ln"])


def test_service_account_token_without_type_and_with_one_audience_is_read() -> None:
    read = read_assertion(_jwt(HEADER, CLAIMS))
    assert read == Assertion("k", "https://i/", "s", "a", not_before=1, expires=2)


def test_github_token_with_text_audience_and_type_is_read() -> None:
    """A missing `nbf` is zero."""
    claims = {**CLAIMS, "aud": "a", "nbf": None}
    del claims["nbf"]
    read = read_assertion(_jwt({**HEADER, "typ": "JWT", "x5t": "t"}, claims))
    assert isinstance(read, Assertion)
    assert (read.audience, read.not_before) == ("a", 0)


BROKEN = {
    "no dots": "abc",
    "two parts": "a.b",
    "four parts": "e30.e30.e30.e30",
    "empty signature": _jwt(HEADER, CLAIMS).removesuffix("c2ln"),
    "not base64": "***.***.***",
    "not ascii": "é.é.é",
    "not json": "YQ.YQ.YQ",
    "header a list": _jwt([], CLAIMS),
    "claims a number": _jwt(HEADER, 1),
    "nested too deep": f"{base64.urlsafe_b64encode(b'[' * 30000).decode().rstrip('=')}.e30.e30",
    "a number too long": f"{base64.urlsafe_b64encode(b'9' * 6000).decode().rstrip('=')}.e30.e30",
    "no algorithm": _jwt({"kid": "k"}, CLAIMS),
    "algorithm none": _jwt({**HEADER, "alg": "NONE"}, CLAIMS),
    "kid a number": _jwt({**HEADER, "kid": 7}, CLAIMS),
    "subject half a character": _jwt(HEADER, {**CLAIMS, "sub": "\ud800"}),
    "subject empty": _jwt(HEADER, {**CLAIMS, "sub": ""}),
    "audience of numbers": _jwt(HEADER, {**CLAIMS, "aud": [1]}),
    "no audience": _jwt(HEADER, {**CLAIMS, "aud": []}),
    "exp true": _jwt(HEADER, {**CLAIMS, "exp": True}),
    "exp endless": _jwt(HEADER, {**CLAIMS, "exp": float("inf")}),
    "nbf null": _jwt(HEADER, {**CLAIMS, "nbf": None}),
    "crit empty": _jwt({**HEADER, "crit": []}, CLAIMS),
    "crit unknown": _jwt({**HEADER, "crit": ["x"], "x": 1}, CLAIMS),
    "crit null": _jwt({**HEADER, "crit": None}, CLAIMS),
    "crit b64 true": _jwt({**HEADER, "crit": ["b64"], "b64": True}, CLAIMS),
    "b64 false": _jwt({**HEADER, "b64": False}, CLAIMS),
    "b64 false and critical": _jwt({**HEADER, "crit": ["b64"], "b64": False}, CLAIMS),
    "b64 zero": _jwt({**HEADER, "b64": 0}, CLAIMS),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_malformed_assertion_has_one_code(text: str) -> None:
    read = read_assertion(text)
    assert isinstance(read, Refused)
    assert read.code == 50027


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*"))
def test_reading_an_assertion_never_raises(text: str) -> None:
    assert isinstance(read_assertion(text), Assertion | Refused)


def test_b64_true_is_accepted() -> None:
    """It is the default (RFC 7797 §3)."""
    assert isinstance(read_assertion(_jwt({**HEADER, "b64": True}, CLAIMS)), Assertion)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), _JSON | st.just("RS256")),
    st.dictionaries(st.sampled_from([*CLAIMS]), _JSON),
)
def test_reading_claims_of_any_type_never_raises(header: dict[str, object], claims: dict[str, object]) -> None:
    assert isinstance(read_assertion(_jwt(header, {**CLAIMS, **claims})), Assertion | Refused)
    assert isinstance(read_assertion(_jwt({**HEADER, **header}, claims)), Assertion | Refused)
