"""What a lab keeps in writing, and what a command line changes of it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.base.errors import SettingError, WispError
from wisp_local.lab.record import (
    NOTHING,
    Asked,
    Behind,
    Cloud,
    Listening,
    Record,
    Wanted,
    changed,
    listening,
    must_be_as_it_runs,
    parsed,
    written,
)

OWN = Behind(own=True)
ANYWHERE = "0.0.0.0"  # noqa: S104 -- recognised, not bound
PLAIN = Listening(("127.0.0.1",), 8443, ())


def test_what_is_not_asked_for_stays() -> None:
    """Port, hosts, names, image, and what is behind the clusters."""
    before = Wanted(("10.0.0.1",), 9000, ("name",), Behind("/kube"), "image", "/image.tar", ("/more.tar",))
    assert changed(before, Asked()) == before
    assert changed(before, Asked(behind=NOTHING)) == replace(before, behind=NOTHING)
    asked = Asked(("::1",), 0, ("b",), OWN, "c", "/c.tar", ("/d.tar",))
    assert changed(before, asked) == Wanted(("::1",), 0, ("b",), OWN, "c", "/c.tar", ("/d.tar",))


@pytest.mark.parametrize(
    "wanted, node_side, expected",
    [
        pytest.param(Wanted(), None, PLAIN, id="plain"),
        pytest.param(Wanted(("127.0.0.1",)), None, PLAIN, id="loopback-said"),
        pytest.param(
            Wanted(("172.18.0.1",)), None, Listening(("127.0.0.1", "172.18.0.1"), 8443, ("172.18.0.1",)), id="host"
        ),
        pytest.param(
            Wanted(("172.18.0.1",), advertise=("lab.test",)),
            None,
            Listening(("127.0.0.1", "172.18.0.1"), 8443, ("lab.test",)),
            id="name",
        ),
        pytest.param(Wanted((ANYWHERE,)), None, Listening((ANYWHERE,), 8443, ()), id="anywhere"),
        pytest.param(
            Wanted((ANYWHERE,), advertise=("lab.test",)), None, Listening((ANYWHERE,), 8443, ("lab.test",)), id="both"
        ),
        pytest.param(
            Wanted(behind=OWN), "10.201.0.1", Listening(("127.0.0.1", "10.201.0.1"), 8443, ("10.201.0.1",)), id="own"
        ),
        pytest.param(
            Wanted(("10.201.0.1",), advertise=("n",), behind=OWN),
            "10.201.0.1",
            Listening(("127.0.0.1", "10.201.0.1"), 8443, ("10.201.0.1", "n")),
            id="own-and-more",
        ),
    ],
)
def test_where_the_cloud_listens(wanted: Wanted, node_side: str | None, expected: Listening) -> None:
    """On loopback always; clients elsewhere are never told of that."""
    assert listening(wanted, node_side) == expected


def test_a_cloud_that_runs_is_as_wanted_or_an_error() -> None:
    """Port 0 is any; another port or address is not."""
    must_be_as_it_runs(PLAIN, PLAIN)
    must_be_as_it_runs(PLAIN, Listening(("127.0.0.1",), 0, ()))
    for other in (Listening(("127.0.0.1",), 1, ()), Listening(("127.0.0.1", "::1"), 8443, ())):
        with pytest.raises(WispError, match=r"listens on port 8443 of 127.0.0.1: `wisp lab down` first"):
            must_be_as_it_runs(PLAIN, other)


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_SOME = st.lists(_TEXTS, max_size=2).map(tuple)
_BEHIND = st.builds(Behind, st.none() | _TEXTS, st.booleans())
_NAME = st.none() | _TEXTS
_WANTED = st.builds(Wanted, _SOME, st.integers(0, 65535), _SOME, _BEHIND, _NAME, _NAME, _SOME)
_CLOUD = st.builds(
    Cloud,
    st.integers(1),
    _TEXTS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(Listening, _SOME, st.integers(0, 65535), _SOME),
    _TEXTS,
    st.none() | _TEXTS,
)


@given(st.builds(Record, _WANTED, st.none() | _CLOUD))
def test_what_is_written_is_read(record: Record) -> None:
    """All of it."""
    assert parsed(written(record), "lab.json") == record


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 1}', '{"version": 1, "wanted": {"colour": 1}, "cloud": null}', "null"],
    ids=["empty", "list", "object", "nothing", "unknown", "null"],
)
def test_what_is_not_a_record_is_one_error(text: str) -> None:
    """It names the file and what to do."""
    with pytest.raises(SettingError, match=r"lab\.json is not what `wisp lab` wrote: name another folder"):
        parsed(text, "lab.json")


def test_another_versions_record_is_told_from_a_broken_one() -> None:
    """It is not thrown away."""
    later = json.dumps({**json.loads(written(Record(Wanted()))), "version": 2})
    with pytest.raises(SettingError, match=r"written by another version of wisp \(2\)"):
        parsed(later, "lab.json")
