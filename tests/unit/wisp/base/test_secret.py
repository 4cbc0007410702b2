"""A secret does not show itself."""

import json
import traceback
from typing import NamedTuple

import pytest

from wisp.base.secret import Secret

SECRET = Secret("hunter2")


class Holder(NamedTuple):
    """Something with a secret in it."""

    secret: Secret


@pytest.mark.parametrize(
    "shown",
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
def test_it_is_masked(shown: str) -> None:
    """Whatever way it is shown."""
    assert "***" in shown
    assert "hunter2" not in shown


def test_a_traceback_does_not_show_it() -> None:
    """An exception about it holds its mask."""
    known: dict[Secret, int] = {}
    with pytest.raises(KeyError) as caught:
        known[SECRET]
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_json_refuses_it() -> None:
    """It cannot slip into a document by accident."""
    with pytest.raises(TypeError):
        json.dumps({"token": SECRET})


def test_it_has_no_attributes_to_look_at() -> None:
    """`vars` has nothing to show."""
    with pytest.raises(TypeError):
        vars(SECRET)


def test_it_is_revealed_when_asked() -> None:
    """And compares by its value."""
    assert SECRET.reveal() == "hunter2"
    assert Secret("hunter2") == SECRET
    assert hash(Secret("hunter2")) == hash(SECRET)
    assert Secret("other") != SECRET
    assert SECRET != "hunter2"
