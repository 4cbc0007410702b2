"""Request targets are parsed as other implementations parse them."""

from urllib.parse import parse_qsl, unquote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.imds.request import parse_form, parse_target

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
