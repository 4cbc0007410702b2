"""Writes the tables of docs/reference/compatibility.md from the results: `python -m tests.interop.table --write`.

Without --write they are printed. Seconds are those of the run that was written; comparisons leave them out.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from tests.interop import document, results
from tests.interop.asking import Answer
from tests.interop.cells import (
    ERRORS,
    OF_PROGRAMS,
    PASSING,
    TOKENS,
    Case,
    Cell,
    Route,
    Row,
    cannot,
    kept_back,
    programs,
    rows,
    sdks,
)
from tests.interop.document import TITLES, label, line, title


def mark(cell: Cell, answer: Answer) -> str:
    """Say in a few words what came of the cell."""
    if answer.ok:
        return "token"
    kept = cell.case.reason if cell.case.reason and cell.case.reason in answer.error else "no reason"
    took = f", {answer.took:.0f} s" if cell.case in PASSING else ""
    return f"`{error_type(answer.error)}`: {kept}{took}"


def error_type(text: str) -> str:
    """Return the name of the error that a client's text begins with, without its module."""
    return re.split(r"[./*]|::", text.split(": ", 1)[0])[-1]


def tables(answers: Mapping[Cell, Answer]) -> str:
    """Write the tables of tokens and of errors, for each route."""
    return "\n".join(_lines(answers))


def _lines(answers: Mapping[Cell, Answer]) -> Iterator[str]:
    for route in Route:
        yield f"### {title(sdks(route)[0])}\n"
        yield from _table(answers, sdks(route), TOKENS)
        yield from _table(answers, sdks(route), ERRORS)
    for route in Route:
        yield f"### {title(programs(route)[0])}\n"
        yield from _table(answers, programs(route), OF_PROGRAMS)
    yield "### What cannot be had\n"
    yield "`—`: there is nothing to ask.\n"
    yield from _reasons(cannot, TOKENS)
    yield "\n`no reason`: the application hears of the error, not of its cause; the sidecar's log has it.\n"
    yield from _reasons(kept_back, ERRORS)


def _table(answers: Mapping[Cell, Answer], rows: Iterable[Row], cases: tuple[Case, ...]) -> Iterator[str]:
    yield line("client", *(case.value for case in cases))
    yield line(*["---"] * (len(cases) + 1))
    for row in rows:
        yield line(label(row), *(_text(Cell(row, case), answers) for case in cases))
    yield ""


def _text(cell: Cell, answers: Mapping[Cell, Answer]) -> str:
    if cannot(cell) is not None:
        return "—"
    return mark(cell, answers[cell]) if cell in answers else "not run"


def _reasons(why: Callable[[Cell], str | None], cases: Iterable[Case]) -> Iterator[str]:
    """List each reason once, with whom it concerns."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for cell in (Cell(row, case) for route in Route for row in rows(route) for case in cases if case in row.cases):
        if (reason := why(cell)) is not None:
            found.setdefault((label(cell.row), reason), {})[TITLES[cell.row.route].lower()] = None
    for (who, reason), ways in found.items():
        way = f" ({', '.join(ways)})" if len(ways) < len(Route) else ""
        yield f"- {who}{way}: {reason}."


def said(cell: Cell, text: str) -> str:
    """Return what the document says of the cell, without the seconds."""
    return document.read(text)[title(cell.row), label(cell.row), cell.case.value]


if __name__ == "__main__":
    sys.exit(document.main("table", tables(results.answers()), sys.argv[1:]))
