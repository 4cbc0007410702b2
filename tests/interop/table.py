"""Writes the tables of docs/reference/compatibility.md from the results: `python -m tests.interop.table --write`.

Without --write they are printed. Seconds are those of the run that was written; comparisons leave them out.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from tests.interop import document, results
from tests.interop.cells import (
    ERRORS,
    PROGRAM_CASES,
    TOKENS,
    TRANSIENT,
    Case,
    Cell,
    Route,
    Row,
    hidden_reason,
    impossible_reason,
    programs,
    rows,
    sdks,
)
from tests.interop.client_run import Answer
from tests.interop.document import TITLES, label, line, title


def mark(cell: Cell, answer: Answer) -> str:
    """Return the text of the cell."""
    if answer.ok:
        return "token"
    reason = cell.case.reason if cell.case.reason and cell.case.reason in answer.error else "no reason"
    duration = f", {answer.duration:.0f} s" if cell.case in TRANSIENT else ""
    return f"`{error_type(answer.error)}`: {reason}{duration}"


def error_type(text: str) -> str:
    """Return the name of the error at the beginning of a client's text, without its module."""
    return re.split(r"[./*]|::", text.split(": ", 1)[0])[-1]


def tables(answers: Mapping[Cell, Answer]) -> str:
    """Return the tables of tokens and of errors, for all routes."""
    return "\n".join(_lines(answers))


def _lines(answers: Mapping[Cell, Answer]) -> Iterator[str]:
    for route in Route:
        yield f"### {title(sdks(route)[0])}\n"
        yield from _table(answers, sdks(route), TOKENS)
        yield from _table(answers, sdks(route), ERRORS)
    for route in Route:
        yield f"### {title(programs(route)[0])}\n"
        yield from _table(answers, programs(route), PROGRAM_CASES)
    yield "### Missing results\n"
    yield "`—`: the client does not support this selection.\n"
    yield from _reasons(impossible_reason, TOKENS)
    yield "\n`no reason`: the application gets an error without its cause; the cause is in the sidecar's log.\n"
    yield from _reasons(hidden_reason, ERRORS)


def _table(answers: Mapping[Cell, Answer], rows: Iterable[Row], cases: tuple[Case, ...]) -> Iterator[str]:
    yield line("client", *(case.value for case in cases))
    yield line(*["---"] * (len(cases) + 1))
    for row in rows:
        yield line(label(row), *(_text(Cell(row, case), answers) for case in cases))
    yield ""


def _text(cell: Cell, answers: Mapping[Cell, Answer]) -> str:
    if impossible_reason(cell) is not None:
        return "—"
    return mark(cell, answers[cell]) if cell in answers else "not run"


def _reasons(reason_for: Callable[[Cell], str | None], cases: Iterable[Case]) -> Iterator[str]:
    """List every reason once, with its clients."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for cell in (Cell(row, case) for route in Route for row in rows(route) for case in cases if case in row.cases):
        if (reason := reason_for(cell)) is not None:
            found.setdefault((label(cell.row), reason), {})[TITLES[cell.row.route].lower()] = None
    for (client, reason), routes in found.items():
        route = f" ({', '.join(routes)})" if len(routes) < len(Route) else ""
        yield f"- {client}{route}: {reason}."


def documented(cell: Cell, text: str) -> str:
    """Return the text of the cell in the document, without the seconds."""
    return document.read(text)[title(cell.row), label(cell.row), cell.case.value]


if __name__ == "__main__":
    sys.exit(document.main("table", tables(results.answers()), sys.argv[1:]))
