"""Tokens in texts are masked completely; other words stay."""

import base64
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import jwt
from wisp.base.masking import masked


def part(document: object, **layout: object) -> str:
    """Return a segment of a token: unpadded base64url of JSON."""
    text = document if isinstance(document, str) else json.dumps(document, **layout)  # type: ignore[arg-type]
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


TOKEN = jwt(sub="system:serviceaccount:shop:orders")
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")
UNSIGNED = f"{part({'alg': 'none'})}.{PAYLOAD}."
JWE = ".".join((part({"alg": "dir", "enc": "A256GCM"}), "", "aXYtaXYtaXYt", "Y2lwaGVydGV4dA", "dGFn"))


@pytest.mark.parametrize(
    "text, expected",
    [
        (TOKEN, "***"),
        (f"got {TOKEN}.", "got ***."),
        (f"got {TOKEN}, {TOKEN}", "got ***, ***"),
        (f"got {UNSIGNED}", "got ***"),
        (f"got {JWE} here", "got *** here"),
        (f"{HEADER}..{SIGNATURE}", "***"),
        (f'"{TOKEN}"', '"***"'),
        (f"'{TOKEN}'", "'***'"),
        (f"<{TOKEN}>", "<***>"),
        (f"client_assertion={TOKEN}&scope=x", "client_assertion=***&scope=x"),
        (f"%22{TOKEN}%22", "%22***%22"),
        (f"%2522{TOKEN}%2522", "%2522***%2522"),
        (TOKEN.replace(".", "%2E"), "***"),
        (TOKEN.replace(".", "%252e"), "***"),
        (TOKEN.replace(".", "%2e").replace("-", "%2D").replace("_", "%5f"), "***"),
        (f"\\u0022{TOKEN}\\u0022", "\\u0022***\\u0022"),
        (f"\\n{TOKEN}", "\\n***"),
        (f"Bearer:{TOKEN}/x", "Bearer:***/x"),
        (f"{TOKEN}{TOKEN}", "***"),
        (f"{TOKEN}.{TOKEN}", "***"),
        (f"{TOKEN}.Trace", "***.Trace"),
        (f"x={HEADER}==.{PAYLOAD}=.{SIGNATURE}=&y", "x=***=&y"),
        (f"{HEADER}==%2E{PAYLOAD}=%2E{SIGNATURE}", "***"),
        (f"%2{TOKEN}", "***"),
        (f"%252{TOKEN}", "***"),
        (f"a%2Eb%2{UNSIGNED}", "***"),
        ("%2" + TOKEN.replace(".", "%2e"), "***"),
    ],
)
def test_token_is_masked_and_the_text_around_it_stays(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize("before", ["x", "xy", "xyz", "wxyz", "22", "key", "ey", "eyJ", "eyJeyJ", "_", "-"])
def test_characters_directly_before_a_token_do_not_hide_it(before: str) -> None:
    result = masked(before + TOKEN)
    assert result.endswith("***")
    assert before.startswith(result.removesuffix("***"))


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":1}',
        '{ "alg":1}',
        '{\n"alg":1}',
        '{\r\n  "alg" : "RS256"}',
        '{\t"typ":"JWT","alg":"RS256"}',
        ' {"alg":"RS256"}',
        '\n\n{"alg":"RS256"}',
        '{"jwk":{"kty":"RSA"},"alg":"RS256"}',
        '{"\\u0061lg":"RS256"}',
        '{"k":"\u00e9\u20ac","alg":"RS256"}',
    ],
)
def test_header_with_any_json_layout_is_recognised(header: str) -> None:
    """JSON may contain whitespace and escapes."""
    assert not {PAYLOAD, SIGNATURE} & set(masked(f"x {part(header)}.{PAYLOAD}.{SIGNATURE} x").split("."))


@pytest.mark.parametrize(
    "text",
    [
        "eyJ",
        "eyJhbmNlLg.a.b",
        "The keyJoiner.of.words",
        "honeyJar.example.com",
        "www.greyJoy.co.uk",
        "eyAndew0.kewl.ewok",
        "login.microsoftonline.com",
        "1.2.840.113549.1.1.11",
        "api://6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1/.default",
        f"{part({'typ': 'JWT'})}.{PAYLOAD}.{SIGNATURE}",
        f"{part(['alg'])}.{PAYLOAD}.{SIGNATURE}",
        f"{part('alg')}.a.b",
        HEADER,
        f"{HEADER}.{PAYLOAD}",
        f"{PAYLOAD}.{SIGNATURE}.x",
        "%2E%2D%5F",
        "",
    ],
)
def test_text_that_resembles_a_token_stays(text: str) -> None:
    """Examples are words, names and incomplete tokens."""
    assert masked(text) == text


@pytest.mark.parametrize("token", [TOKEN, UNSIGNED, JWE, TOKEN.replace(".", "%2E"), TOKEN.replace(".", "%252E")])
def test_truncated_token_at_the_end_is_masked(token: str) -> None:
    """Wherever it is cut, only a few characters with which every token begins may be left."""
    for length in range(len(token) + 1):
        rest = masked(f"got {token[:length]}", cut=True).removeprefix("got ")
        assert rest in {"", "e", "ey", "***", "***%", "***%2", "***%25", "***%252"}, length


def test_truncated_token_before_the_end_stays() -> None:
    assert masked(f"{HEADER} {HEADER} word", cut=True) == f"{HEADER} {HEADER} word"


@given(st.text(max_size=200))
def test_text_without_dots_stays(text: str) -> None:
    text = text.replace(".", " ")
    assert masked(text) == text


@given(
    st.dictionaries(st.text(max_size=10), st.text(max_size=60), min_size=1), st.text(max_size=40), st.text(max_size=40)
)
def test_token_is_masked_in_any_text(claims: dict[str, str], before: str, after: str) -> None:
    token = jwt(**claims)
    assert not any(segment in masked(before + token + after) for segment in token.split(".")[1:])


@given(st.text("eyJhbGciOi.-_%2E5", max_size=300), st.booleans())
def test_masking_twice_changes_nothing_more(text: str, cut: bool) -> None:  # noqa: FBT001
    """The masked text is longer than the original only by its masks."""
    once = masked(text, cut=cut)
    assert masked(once, cut=False) == once
    assert len(once.replace("***", "")) <= len(text)


@pytest.mark.parametrize(
    "unit",
    ["eyJ", "eyJ.", "eyJhIjp7", f"{HEADER}.", "ew", "ew0gICAg", "%2E", "%25", "e30.", "."],
)
def test_masking_takes_linear_time(unit: str) -> None:
    """Twice the text makes at most about twice as many calls. Calls are counted; nothing is timed."""
    assert _calls(unit * (48_000 // len(unit))) <= 2 * _calls(unit * (24_000 // len(unit))) + 100


def _calls(text: str) -> int:
    """Count the calls of Python and C functions that masking makes."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        masked(text)
    finally:
        sys.setprofile(None)
    return calls
