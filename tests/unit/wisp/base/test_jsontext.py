"""JSON is written and read as by the standard library."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.base.jsontext import from_json, to_json

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(documents)
def test_document_is_written_as_by_the_standard_library(document: object) -> None:
    written = to_json(document)
    assert written == json.dumps(document, separators=(",", ":")).encode()
    assert from_json(written) == document


@given(st.binary(max_size=30) | st.text(st.sampled_from('[]{}",:0-1eEtruefalsn\\u')).map(str.encode))
def test_other_text_is_rejected_as_by_the_standard_library(data: bytes) -> None:
    try:
        expected = json.loads(data.decode())
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 -- every fault has a different message
            from_json(data)
    else:
        if data == data.strip():
            assert from_json(data) == expected


def test_float_that_json_does_not_have_is_rejected() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json([float("nan")])


def test_object_that_json_does_not_have_is_rejected() -> None:
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        to_json([object()])
