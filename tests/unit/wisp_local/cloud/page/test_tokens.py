"""Tokens and times as the page shows them."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp_local.cloud.page.refusal import time_problem, valid_time
from wisp_local.cloud.page.tokens import Presented, claims, decode, moment, since, span, visible

NOW = 1_760_000_000


def _jwt(payload: object) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in ({}, payload))
    return ".".join([*parts, "c2ln"])


@given(st.text() | st.recursive(st.none() | st.text() | st.floats() | st.integers(), st.lists).map(_jwt))
def test_any_text_is_decoded_or_none(text: str) -> None:
    """Text that is not a JWT is None, and the content of a JWT may be anything."""
    decoded = decode(text)
    assert decoded is None or isinstance(decoded.presented, Presented)


@given(
    st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "x"]), st.text() | st.integers() | st.floats())
)
def test_any_claims_can_be_shown(payload: dict[str, object]) -> None:
    """Claims of any type can be shown, compared and placed in time."""
    decoded = decode(_jwt(payload))
    assert decoded is not None
    assert [each.name for each in claims(decoded.payload, NOW)] == list(payload)
    assert isinstance(time_problem(decoded, NOW), str)
    assert " to " in valid_time(decoded)


@pytest.mark.parametrize(
    "audience, read",
    [("api://x", "api://x"), (["api://x"], "api://x"), (["a", "b"], '["a", "b"]'), (7, "7"), (None, "")],
)
def test_audience_is_read_as_entra_reads_it(audience: object, read: str) -> None:
    """A list with one audience is that audience; other values can still be seen."""
    decoded = decode(_jwt({"aud": audience}))
    assert decoded is not None
    assert decoded.presented == Presented("", "", read)


@pytest.mark.parametrize(
    "seconds, written",
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3661, "1 h 1 min"),
        (86400, "1 d"),
        (-5, "5 s"),
        (1e300, "2932896 d 23 h"),
    ],
)
def test_span_has_its_two_largest_units(seconds: float, written: str) -> None:
    """Enough to see what is wrong, no more."""
    assert span(seconds) == written


def test_moments_are_readable_and_never_an_error() -> None:
    """Readable, in UTC, and never an error."""
    assert moment(NOW) == "2025-10-09 08:53:20 UTC"
    assert [since(NOW + each, NOW) for each in (-5, 0, 7200)] == ["5 s ago", "now", "in 2 h"]
    assert [moment(each)[:4] for each in (-1e300, 1e300)] == ["1970", "9999"]
    assert since(float("-inf"), NOW).endswith("ago")


@given(st.text())
def test_invisible_characters_are_spelled_out(text: str) -> None:
    """Nothing that is shown can rearrange, hide or break what is around it."""
    assert visible(text).isprintable()
    assert visible("a\u202eb\n c") == "a[U+202E]b[U+000A] c"
