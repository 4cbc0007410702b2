"""The documentation's layout, its links, the width of its lines and the form of its decision records."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCS = ROOT / "docs"
TOP = {"index.md", "troubleshooting.md", "glossary.md"}
FOLDERS = {"tutorials", "how-to", "reference", "explanation", "decisions", "images"}
PAGES = sorted(DOCS.rglob("*.md"))
LINKING = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_WIDTH = 120


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prose(text: str) -> str:
    """Return Markdown without its code blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(text), flags=re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def broken_links(path: Path) -> list[str]:
    """Return the links of a page to files or headings that do not exist."""
    broken = []
    for link in _LINK.findall(_prose(path.read_text(encoding="utf-8"))):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link) or "security/advisories" in link:
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (
            anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8"))
        ):
            broken.append(link)
    return broken


def wide_lines(text: str) -> list[int]:
    """Return the numbers of lines of prose that are too wide. Tables, code and lines without a space may be."""
    lines, code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        code ^= line.lstrip().startswith("```")
        if len(line) > _WIDTH and not code and not line.lstrip().startswith(("|", "```")) and " " in line.strip():
            lines.append(number)
    return lines


def test_the_layout() -> None:
    """Pages are in one of the folders; only the index, troubleshooting and the glossary are at the top."""
    assert {path.name for path in DOCS.iterdir() if path.is_file()} == TOP
    assert {path.name for path in DOCS.iterdir() if path.is_dir()} == FOLDERS


@pytest.mark.parametrize("path", LINKING, ids=_name)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


@pytest.mark.parametrize("path", [page for page in PAGES if page.parent.name != "decisions"], ids=_name)
def test_the_index_links_every_page(path: Path) -> None:
    index = DOCS / "index.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(index.read_text(encoding="utf-8"))}
    assert path == index or path in linked


@pytest.mark.parametrize("path", LINKING, ids=_name)
def test_lines_are_not_too_wide(path: Path) -> None:
    assert wide_lines(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sorted((DOCS / "decisions").glob("0*.md")), ids=_name)
def test_a_decision_has_a_date_a_context_a_decision_and_consequences(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"# {int(path.name[:4])}\. .+\n\nDate: \d{{4}}-\d\d-\d\d\n\n## Context\n", text)
    sections = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert [name for name in sections if name in {"Context", "Decision", "Consequences"}] == [
        "Context",
        "Decision",
        "Consequences",
    ]
    assert f"({path.name})" in (DOCS / "decisions/index.md").read_text(encoding="utf-8")


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` c\n\n[x](#a-b-c) [y](#nothing) [z](other.md)\n\n```\n[w](code.md)\n```\n")
    assert broken_links(page) == ["#nothing", "other.md"]
    assert wide_lines(f"{'word ' * 30}\n| {'cell ' * 30}|\n```\n{'code ' * 30}\n```\n{'x' * 130}\n") == [1]
