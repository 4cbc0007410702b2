"""The generated parts of docs/reference/compatibility.md: names, positions and tables."""

import re
import sys
from collections.abc import Mapping, Sequence

from tests.interop.cells import Route, Row
from tests.support.paths import ROOT

PATH = ROOT / "docs/reference/compatibility.md"
TITLES = {Route.INTERCEPTION: "By interception", Route.ENVIRONMENT: "By environment"}

_SECONDS = re.compile(r", \d+ s$")


def label(row: Row) -> str:
    """Return the label of a row: language, package with its version, and entry point."""
    sdk = row.sdk
    return f"{sdk.language or row.recipe.language}, {sdk.package} {row.recipe.version(row.mode)}, `{sdk.entry}`"


def title(row: Row) -> str:
    """Return the title of a row's table."""
    route = TITLES[row.route]
    return f"Programs, {route[0].lower()}{route[1:]}" if row.recipe.uses_token else route


def line(*texts: str) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(texts)} |"


def read(text: str) -> Mapping[tuple[str, str, str], str]:
    """Return the cells of tables by title, row and column, without the seconds that a run took."""
    found: dict[tuple[str, str, str], str] = {}
    title, columns = "", [""]
    for row in text.splitlines():
        parts = [part.strip() for part in row.strip("| ").split(" | ")]
        if row.startswith("###"):
            title = row.strip("# ")
        elif parts[0] == "client":
            columns = parts
        elif row.startswith("| ") and not row.startswith("| ---"):
            texts = zip(columns[1:], parts[1:], strict=True)
            found |= {(title, parts[0], column): without_seconds(text) for column, text in texts}
    return found


def without_seconds(text: str) -> str:
    """Return a cell's text without the seconds that the run took."""
    return _SECONDS.sub("", text)


def begin(name: str) -> str:
    """Return the line before a generated part."""
    return f"<!-- {name}: written by `python -m tests.interop.{name} --write` -->"


def end(name: str) -> str:
    """Return the line after a generated part."""
    return f"<!-- end of {name} -->"


def part(text: str, name: str) -> str:
    """Return the content of a generated part."""
    return text.split(begin(name), 1)[1].split(end(name), 1)[0].strip()


def with_part(text: str, name: str, content: str) -> str:
    """Return the text with other content in a generated part."""
    before, rest = text.split(begin(name), 1)
    after = rest.split(end(name), 1)[1]
    return f"{before}{begin(name)}\n\n{content.strip()}\n\n{end(name)}{after}"


def main(name: str, content: str, arguments: Sequence[str]) -> int:
    """Write the content into its part of the document, or print it; return the exit status."""
    if "--write" in arguments:
        text = PATH.read_text(encoding="utf-8")
        PATH.write_text(with_part(text, name, content), encoding="utf-8")
    else:
        sys.stdout.write(f"{content}\n")
    return 0
