"""Source, documentation and help are written in plain technical English: some phrases are replaced when they return."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

BANNED = {  # a pattern of words -> what to write
    r"whoever|whosoever": "the caller, the client, anyone who",
    r"anew": "again",
    r"for ever": "indefinitely",
    r"mend(s|ed|ing)?": "fix",
    r"let by": "skipped, not redirected",
    r"(?<!there )(is|are) (?-i:none)": "there is no, not a",  # Python code has `is None`
    r"(?<!there )is no (?!(longer|more|need|way|such|other|effect|default|limit)\b)\w+": "is not a",
    r"of both\.": "a sentence that names both",
    r"some \d+ (MB|s|ms)": "about",
    r"beside (it|them|that)": "next to, in addition to",
    r"likewise|thereof|wherein": "also, of it, in which",
    r"what there is|(is|are) (to be )?had": "available",
    r"as it is of|goes with it|save for": "name the object; is deleted with it; except for",
    r"(is|are) told": "is given, receives, is configured with",
}
_ANY = re.compile("|".join(rf"\b({pattern})\b" for pattern in BANNED).replace(r"\.)\b", r"\.)"), re.IGNORECASE)
_SUFFIXES = {".py", ".md", ".yaml", ".html", ".tpl", ".txt", ".toml", ".json"}
_FOLDERS = ("src", "docs", "charts", "deploy", "tests/golden/help")
_FILES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile")


def banned_phrases(text: str) -> list[str]:
    """Return `line: phrase` for each banned phrase; a phrase may run over the end of a line."""
    flat = re.sub(r"\s", " ", text)
    return [f"{text.count(chr(10), 0, found.start()) + 1}: {found[0]!r}" for found in _ANY.finditer(flat)]


def _documents() -> list[Path]:
    found = [path for name in _FOLDERS for path in (ROOT / name).rglob("*") if path.suffix in _SUFFIXES]
    return sorted([*found, *(ROOT / name for name in _FILES)])


@pytest.mark.parametrize("path", _documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_banned_phrase(path: Path) -> None:
    assert banned_phrases(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text, found",
    [
        ("The port is none.", ["1: 'is none'"]),
        ("a\nit is\nread anew\n", ["3: 'anew'"]),
        ("this is no\nGUID", ["1: 'is no GUID'"]),
        ("there is no limit, there are none, it is no longer needed, and `x is None`", []),
        ("recommended, amended, forever", []),
        ("Of both.", ["1: 'Of both.'"]),
    ],
    ids=["a phrase", "its line", "over two lines", "plain uses", "parts of words", "with a full stop"],
)
def test_phrases_are_found(text: str, found: list[str]) -> None:
    assert banned_phrases(text) == found
