"""Response bodies that every SDK accepts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import ARM, CLIENT_ID
from wisp.imds.answer import TokenDetails, error_body, token_body

text = st.text(min_size=1)


def body(access_token: str, grant: TokenDetails, lifetime: int = 86399) -> bytes:
    """Return the whole response body."""
    return token_body(access_token, grant, lifetime)


def test_token_document_has_strings_for_numbers_in_order() -> None:
    """expires_in comes before expires_on, and no field is missing."""
    document = json.loads(body("token", TokenDetails(CLIENT_ID, ARM, 1_790_000_000, 1_789_900_000)))
    assert list(document.items()) == [
        ("access_token", "token"),
        ("client_id", CLIENT_ID),
        ("expires_in", "86399"),
        ("expires_on", "1790000000"),
        ("ext_expires_in", "86399"),
        ("not_before", "1789900000"),
        ("resource", ARM),
        ("token_type", "Bearer"),
    ]


@given(text, text, text, st.integers(0, 10**12), st.integers(0, 10**12))
def test_any_resource_and_token_survive_json(
    token: str, client_id: str, resource: str, expires_on: int, begin: int
) -> None:
    document = json.loads(body(token, TokenDetails(client_id, resource, expires_on, begin)))
    assert (document["access_token"], document["client_id"], document["resource"]) == (token, client_id, resource)
    assert (document["expires_on"], document["not_before"]) == (str(expires_on), str(begin))


@pytest.mark.parametrize("odd", ["\0", "\\u0000", "a\\", '"', "\u2028", "é😀", '","expires_in":"1'])
def test_placeholders_for_the_lifetime_cannot_be_injected(odd: str) -> None:
    """Neither a resource nor a token can move the places where the lifetime is inserted."""
    document = json.loads(body(odd, TokenDetails(odd, odd, 2, 1)))
    assert document == {
        **dict.fromkeys(("access_token", "client_id", "resource"), odd),
        **dict.fromkeys(("expires_in", "ext_expires_in"), "86399"),
        "expires_on": "2",
        "not_before": "1",
        "token_type": "Bearer",
    }


@given(st.text(), st.text())
def test_error_body_is_ascii_json(error: str, description: str) -> None:
    """For any text."""
    written = error_body(error, description)
    assert json.loads(written) == {"error": error, "error_description": description}
    assert written.isascii()
