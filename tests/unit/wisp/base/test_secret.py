"""Secrets are masked unless they are revealed explicitly."""

import json
import traceback
from typing import NamedTuple

import pytest

from wisp.base.secret import Secret

SECRET = Secret("hunter2")


class Holder(NamedTuple):
    """A record that contains a secret."""

    secret: Secret


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(repr(SECRET), id="repr"),
        pytest.param(str(SECRET), id="str"),
        pytest.param(f"{SECRET}", id="format"),
        pytest.param(f"{SECRET!r:>20}", id="format with a width"),
        pytest.param("%s %r" % (SECRET, SECRET), id="percent"),  # noqa: UP031 -- the old way is what is tested
        pytest.param(repr(Holder(SECRET)), id="in a record"),
        pytest.param(repr({SECRET: [SECRET]}), id="in collections"),
        pytest.param(ascii(SECRET), id="ascii"),
    ],
)
def test_secret_is_masked_in_every_text_form(text: str) -> None:
    assert "***" in text
    assert "hunter2" not in text


def test_traceback_does_not_contain_the_secret() -> None:
    known: dict[Secret, int] = {}
    with pytest.raises(KeyError) as caught:
        known[SECRET]
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_secret_cannot_be_written_as_json() -> None:
    with pytest.raises(TypeError):
        json.dumps({"token": SECRET})


def test_secret_has_no_attributes() -> None:
    with pytest.raises(TypeError):
        vars(SECRET)


def test_secret_is_revealed_on_request_and_compares_by_value() -> None:
    assert SECRET.reveal() == "hunter2"
    assert Secret("hunter2") == SECRET
    assert hash(Secret("hunter2")) == hash(SECRET)
    assert Secret("other") != SECRET
    assert SECRET != "hunter2"
