"""What of a caller's token is looked at before the API server is asked about it."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import UNIX, jwt
from wisp.base.secret import Secret
from wisp.gateway.assertion import Examined, digest_of, examine, issuer_and_subject
from wisp.gateway.types import AUDIENCE, Unauthenticated

VALID = {"aud": [AUDIENCE], "exp": UNIX + 600, "nbf": UNIX, "iss": "https://issuer/", "sub": "s"}


def examined(token: str) -> Examined | Unauthenticated:
    return examine(Secret(token), AUDIENCE, UNIX)


def encoded(claims: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.c2ln"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": AUDIENCE},
        {"aud": ["another", AUDIENCE]},
        {"exp": int(UNIX) + 1},
        {"exp": UNIX + 1e12},
        {"nbf": UNIX + 59},
        {"nbf": None, "iss": None},
        {"kubernetes.io": {"pod": {"name": "\u00e9\n"}}},
    ],
    ids=["usual", "audience as text", "two audiences", "last second", "for ever", "clocks differ", "nulls", "others"],
)
def test_token_that_may_be_valid_is_to_be_reviewed(claims: dict[str, object]) -> None:
    fields = {name: value for name, value in {**VALID, **claims}.items() if value is not None}
    token = jwt(**fields)
    expires = fields["exp"]
    assert isinstance(expires, int | float)
    assert examined(token) == Examined(expires, hashlib.sha256(token.encode()).digest())


@pytest.mark.parametrize(
    "claims, reason",
    [
        (
            {"aud": ["api://AzureADTokenExchange"]},
            f"its audience is api://AzureADTokenExchange, but must be {AUDIENCE}",
        ),
        ({"aud": AUDIENCE + "/"}, f"its audience is {AUDIENCE}/, but must be"),
        ({"aud": AUDIENCE.lower()}, "its audience is api://aksidentitybinding, but must be"),
        ({"aud": []}, "its audience is missing"),
        ({"aud": ["\x1b[31mred" + "x" * 1000]}, "its audience is \ufffd[31mredx"),
        ({"exp": UNIX}, "it expired 0 s ago"),
        ({"exp": UNIX - 90}, "it expired 90 s ago"),
        ({"exp": -1e300}, "it expired"),
        ({"nbf": UNIX + 61}, "it is valid only in 61 s"),
        ({"exp": "tomorrow"}, "it is not a JSON Web Token"),
        ({"aud": {AUDIENCE: True}}, "it is not a JSON Web Token"),
        ({"aud": [AUDIENCE, 1]}, "it is not a JSON Web Token"),
    ],
)
def test_token_that_cannot_be_valid_is_refused_with_the_reason(claims: dict[str, object], reason: str) -> None:
    found = examined(jwt(**{**VALID, **claims}))
    assert isinstance(found, Unauthenticated)
    assert found.reason.startswith(reason)
    assert len(found.reason) < 400


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "opaque",
        jwt(**VALID).rpartition(".")[0],
        jwt(**VALID).rpartition(".")[0] + ".",
        jwt(**VALID) + ".x",
        " " + jwt(**VALID).replace(".", " ."),
        encoded(b""),
        encoded(b"[]"),
        encoded(b'{"aud": "' + AUDIENCE.encode() + b'"}'),
        encoded(b'{"exp": 1e999}'),
        encoded(b'{"exp": NaN}'),
        encoded(b"[" * 10_000),
        encoded(b'{"a":' * 2_000),
        encoded(json.dumps(VALID).encode())[:-4] + "==.c2ln",
        encoded(b"\xff\xfe"),
        "e30.\u00e9.c2ln",
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert examined(token) == Unauthenticated("it is not a JSON Web Token with an expiry")


@given(st.text(st.characters(codec="ascii"), max_size=200))
def test_any_text_is_examined(text: str) -> None:
    found = examined(text)
    assert isinstance(found, Unauthenticated)
    assert len(text) < 20 or text not in found.reason


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "aud": st.one_of(st.none(), st.integers(), st.text(), st.lists(st.sampled_from([AUDIENCE, "x"]))),
            "exp": st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()),
            "nbf": st.one_of(st.floats(), st.integers(), st.text()),
        },
    )
)
def test_only_a_token_for_the_audience_that_has_not_expired_is_to_be_reviewed(claims: dict[str, object]) -> None:
    found = examined(encoded(json.dumps(claims).encode()))
    if isinstance(found, Examined):
        assert AUDIENCE in claims["aud"]  # type: ignore[operator]  # a list of texts
        assert found.expires_at == claims["exp"]
        assert found.expires_at > UNIX


def test_digest_is_that_of_the_token() -> None:
    assert digest_of(Secret("abc")) == hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize(
    "token, expected",
    [
        (jwt(**VALID), ("https://issuer/", "s")),
        (jwt(exp=1, iss="https://issuer/"), None),
        ("x", None),
    ],
)
def test_issuer_and_subject_are_read(token: str, expected: tuple[str, str] | None) -> None:
    assert issuer_and_subject(Secret(token)) == expected
