"""docs/reference/page.md says what is."""

import re

from tests.support.paths import ROOT
from wisp_local.cloud.page.record import RECORDED

DOCS = ROOT / "docs"
TEXT = (DOCS / "reference/page.md").read_text(encoding="utf-8")


def test_pictures_exist_and_are_small() -> None:
    """Each is a PNG of less than 200 kB."""
    pictures = re.findall(r"!\[.+\]\((\.\./images/.+\.png)\)", TEXT)
    assert len(pictures) == 3
    for each in pictures:
        picture = (DOCS / "reference" / each).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 200_000


def test_documented_number_of_exchanges_is_right() -> None:
    """The document names the real one."""
    assert f"The last {RECORDED} exchanges are kept" in TEXT
