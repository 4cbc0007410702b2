"""docs/reference/page.md says what is."""

import re

from tests.support.paths import ROOT
from wisp_local.cloud.page.record import RECORDED

DOCS = ROOT / "docs"
TEXT = (DOCS / "reference/page.md").read_text(encoding="utf-8")


def test_the_pictures_are_there_and_small() -> None:
    """Each is a PNG of less than 200 kB."""
    pictures = re.findall(r"!\[.+\]\((\.\./images/.+\.png)\)", TEXT)
    assert len(pictures) == 3
    for each in pictures:
        picture = (DOCS / "reference" / each).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 200_000


def test_the_number_of_exchanges_that_are_kept() -> None:
    """The document names the real one."""
    assert f"The last {RECORDED} exchanges are kept" in TEXT
