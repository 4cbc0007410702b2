"""Which API versions are served."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.imds.dialects import APP_SERVICE, METADATA_SERVICE, OLD_APP_SERVICE, is_date


def test_all_published_versions_are_known() -> None:
    """Thirty versions have a token endpoint; they are dates, in order."""
    assert len(METADATA_SERVICE.versions) == 30
    assert METADATA_SERVICE.versions[-1] == "2025-04-07"
    assert sorted(set(METADATA_SERVICE.versions)) == list(METADATA_SERVICE.versions)
    assert all(map(is_date, METADATA_SERVICE.versions))


@given(st.dates())
def test_every_calendar_date_after_the_newest_version_is_served(day: date) -> None:
    text = f"{day.year:04}-{day.month:02}-{day.day:02}"
    assert is_date(text)
    assert METADATA_SERVICE.serves(text) is (text in METADATA_SERVICE.versions or text > "2025-04-07")
    assert APP_SERVICE.serves(text) is (text >= "2019-08-01")
    assert OLD_APP_SERVICE.serves(text) is (text == "2017-09-01")


@given(st.integers(0, 9999), st.integers(0, 99), st.integers(0, 99))
def test_date_that_is_not_in_the_calendar_is_not_served(year: int, month: int, day: int) -> None:
    text = f"{year:04}-{month:02}-{day:02}"
    try:
        expected = (date(2000 + year % 400, month, 1) + timedelta(day - 1)).month == month and day > 0
    except ValueError:
        expected = False
    assert is_date(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "20260101",
        "2026-1-1",
        "2026/01/01",
        "2026-01-01 ",
        " 2026-01-01",
        "2026-01-1 ",
        "2026-01-+1",
        "2026-01-01-preview",
        "2026-W01-1",
        "2026-01-\u0660\u0661",
        "\uff12026-01-01",
        "2026-01-0\u00b9",
        "2026-02-29",
        "2100-02-29",
        "12026-01-01",
        "-026-01-01",
    ],
)
def test_other_forms_of_a_date_are_not_served(text: str) -> None:
    """Only ASCII digits in the documented form are accepted."""
    assert not is_date(text)
    assert not METADATA_SERVICE.serves(text)


def test_a_missing_version_is_not_served() -> None:
    assert not METADATA_SERVICE.serves(None)
