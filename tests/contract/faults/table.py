"""Write the tables of docs/reference/faults.md: `python -m tests.contract.faults --write`."""

from collections.abc import Mapping

from tests.contract.faults.catalogue import GROUPS, Fault
from tests.contract.faults.experience import Experiences
from tests.support.paths import ROOT

PATH = ROOT / "docs/reference/faults.md"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"
LONGEST_WAIT = 12.0
"""Seconds that any client waits at most, on a machine that is not busy; tests/entra checks it by a clock of its own."""
BOUNDS = (1.0, 4.0, 7.0, LONGEST_WAIT)
"""What times are given as: machines differ, and a table of exact ones would never agree with the next run."""

_MARGIN = 0.3
_HEAD = "| {} | response | `Retry-After` | wait | calls to Entra | recovery |\n".format
_RULE = "|---|---|---|---|---|---|\n"


def row(fault: Fault, came: Experiences) -> list[str]:
    """Return the cells of a fault's row for one client; the times are those of both clients."""
    first = came.one.answers[0]
    error = first.document.get("error")
    return [
        fault.name,
        f"{first.status} `{error}`" if error else f"{first.status}, a token",
        wait_asked(fault, first.headers.get("retry-after")),
        bound(max(came.one.waited, came.crowd.waited)),
        str(came.one.calls),
        bound(came.one.recovered),
    ]


def wait_asked(fault: Fault, retry_after: str | None) -> str:
    """Return the cell for Retry-After: the rest of the authority's value, or the sidecar's random one."""
    if retry_after is None:
        return ""
    if fault.retry_after is not None and 2 < int(retry_after) <= fault.retry_after:
        return f"{fault.retry_after}, its own"
    return "1–2" if int(retry_after) <= 2 else retry_after  # noqa: RUF001 -- a range


def bound(seconds: float) -> str:
    """Return the cell for a time: the next documented bound, with a margin."""
    return f"≤ {next(limit for limit in BOUNDS if seconds + _MARGIN <= limit or limit == LONGEST_WAIT):g} s"


def seconds(cell: str) -> float:
    """Return the bound in a cell."""
    return float(cell.removeprefix("≤ ").removesuffix(" s"))


def tables(rows: Mapping[str, list[str]]) -> str:
    """Return the tables, one a group, of the rows by fault."""
    return "\n".join(
        _HEAD(group) + _RULE + "".join(f"| {' | '.join(rows[fault.name])} |\n" for fault in faults)
        for group, faults in GROUPS.items()
    )


def committed() -> dict[str, list[str]]:
    """Return the document's rows by fault."""
    text = PATH.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    lines = [line.strip("|\n").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    rows = ([cell.strip() for cell in cells] for cells in lines)
    return {cells[0]: cells for cells in rows if cells[0] not in GROUPS}


def write(text: str) -> None:
    """Write the tables into the document."""
    head, _, rest = PATH.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    PATH.write_text(f"{head}{BEGIN}{text}{END}{tail}", encoding="utf-8")
