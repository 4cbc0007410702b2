"""Tables, as people read them on a terminal and in docs/explanation/performance.md."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bench.figures import FirstToken, Growth, StartUp
from bench.load import ROWS, Rates, Row
from bench.processes import Memory

PAGE = Path(__file__).parent.parent / "docs/explanation/performance.md"
_END = "<!-- end -->"


class Findings(NamedTuple):
    """All that one run found out."""

    servers: Sequence[str]
    rates: Rates
    dialects: Sequence[Row]
    """Measured of bare and wisp only, and so in `rates` too."""
    start_up: StartUp
    first_token: FirstToken
    growth: Growth
    loaded: dict[str, Memory]


def render(found: Findings, method: str) -> str:
    """Return the whole section, in Markdown."""
    paragraphs = [machine(), method, _throughput(found), _dialects(found), _memory(found), _times(found)]
    return "\n\n".join(paragraphs)


def write(section: str, program: str = "bench") -> None:
    """Put the section that `program` wrote into docs/explanation/performance.md, between its marks."""
    begin = f"<!-- begin: written by `python -m {program} --write` -->"
    text = PAGE.read_text()
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(_END)
    if not (found and ended):
        raise SystemExit(f"bench: {PAGE} has lost its marks: {begin} and {_END}")
    PAGE.write_text(f"{before}{begin}\n{section}\n{_END}{after}")


def machine() -> str:
    """Say when and on what it was measured."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = models[0].split(": ", 1)[1] if models else platform.machine()
    kernel = platform.release().split("-")[0]
    day = datetime.now(tz=UTC).date().isoformat()
    return f"{day}, {os.cpu_count()} CPUs ({processor}), Linux {kernel}, Python {platform.python_version()}."


def _throughput(found: Findings) -> str:
    others = [name for name in found.servers if name != "bare"]
    head = ["answers a second", "bare", *others, *(f"{name} ÷ bare" for name in others)]
    rows = []
    for row in ROWS:
        medians = [f"{found.rates.median(row, name):,.0f}" for name in ("bare", *others)]
        rows.append([row.name, *medians, *(f"{found.rates.ratio(row, name, 'bare'):.2f}" for name in others)])
    return table(head, rows)


def _dialects(found: Findings) -> str:
    rows = [
        [
            row.name,
            *(f"{found.rates.median(row, name):,.0f}" for name in ("bare", "wisp")),
            f"{found.rates.ratio(row, 'wisp', 'bare'):.2f}",
        ]
        for row in found.dialects
    ]
    return table(["answers a second, by dialect, 16 connections", "bare", "wisp", "wisp ÷ bare"], rows)


def _memory(found: Findings) -> str:
    idle, first, exchange, loaded, requests = found.growth
    rows = [
        ["wisp, idle", str(idle)],
        ["wisp, after its first token", str(first)],
        ["its exchange process then, for a minute", str(exchange)],
        [f"wisp, after {requests:,} warm requests", str(loaded)],
        *([f"{name}, after the load above", str(memory)] for name, memory in found.loaded.items()),
    ]
    return table(["memory, MB", "resident / anonymous"], rows)


def _times(found: Findings) -> str:
    start, first = found.start_up, found.first_token
    trips = len(first.round_trips)
    rows = [
        ["the bare interpreter (`python -c pass`)", f"{start.interpreter * 1e3:.1f} ms"],
        ["sidecar ready", f"{start.ready * 1e3:.1f} ms: {start.ratio:.2f} times that"],
        ["sidecar ready, seconds on a CPU", f"{start.work:.2f} times the interpreter's"],
        ["first token, asked for at once", f"{first.at_once * 1e3:.0f} ms"],
        ["first token, asked for a second later", f"{first.later * 1e3:.0f} ms"],
        [f"requests to the authority for {trips} first tokens", f"{trips}: {', '.join(sorted(set(_kinds(first))))}"],
    ]
    return table(["time", ""], rows)


def _kinds(first: FirstToken) -> list[str]:
    return [
        f"`{method} …/{path.rsplit('/', 1)[1]}`" for method, path in (trip.split(" ") for trip in first.round_trips)
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, aligned; figures to the right."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    lines = [_line(head, widths), _line(["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])], widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join([first, *rest])} |"
