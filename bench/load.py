"""Throughput by wrk, one thread, one request at a time on each connection; servers alternate within a round."""

import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.client import TOKEN_PATH
from bench.processes import Server

PATIENT = "--timeout=60s"
"""An option of wrk: an answer that takes long on a busy machine is a slow one, and no error."""

_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_FAILURES = re.compile(r"Socket errors:.*")
_NOT_200 = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_DIFFERENT_IDS = """
local head = "GET %s HTTP/1.1\\r\\nHost: 169.254.169.254\\r\\nMetadata: true\\r\\nx-ms-client-request-id: "
local number = 0
request = function()
  number = number + 1
  return head .. string.format("%%08x-0000-4000-8000-000000000000", number) .. "\\r\\n\\r\\n"
end
"""


@dataclass(frozen=True)
class Row:
    """One kind of load. `refused` says that the answer is expected to be an error; `script` is wrk's, in Lua."""

    name: str
    connections: int
    headers: Sequence[str] = ("Metadata: true",)
    script: str | None = None
    refused: bool = False
    target: str = TOKEN_PATH


ROWS = (
    Row("token, 1 connection", 1),
    Row("token, 16 connections", 16),
    Row("token, 64 connections", 64),
    Row("token, 16 connections, every request id differs", 16, script=_DIFFERENT_IDS % TOKEN_PATH),
    Row("refused (no Metadata header), 16 connections", 16, headers=(), refused=True),
)


@dataclass
class Rates:
    """Answers a second, by row and server, one a round."""

    seen: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def median(self, row: Row, server: str) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.seen[row.name, server])

    def ratio(self, row: Row, server: str, yardstick: str) -> float:
        """Return the median of the rounds' ratios: what else the machine does then weighs on both."""
        rounds = zip(self.seen[row.name, server], self.seen[row.name, yardstick], strict=True)
        return statistics.median(ours / theirs for ours, theirs in rounds)


def wrk() -> str:
    """Return the path of wrk, or end with what to do."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("bench: wrk is not installed, and nothing is measured without it: apt-get install wrk")
    return found


def measure(servers: dict[str, Server], *, rounds: int, seconds: int, rows: Sequence[Row] = ROWS) -> Rates:
    """Load every server in turn, `seconds` each, `rounds` times."""
    program = wrk()
    rates = Rates()
    for turn in range(rounds):
        for row in rows:
            order = list(servers) if turn % 2 == 0 else list(reversed(servers))
            for name in order:
                rate = _run(program, row, servers[name].port, seconds, checked=name != "bare")
                rates.seen.setdefault((row.name, name), []).append(rate)
    return rates


def _run(program: str, row: Row, port: int, seconds: int, *, checked: bool) -> float:
    """Run wrk once. An answer other than expected makes the figure worthless, and is an error."""
    command = [program, "-t1", f"-c{row.connections}", f"-d{seconds}s", PATIENT]
    for header in row.headers:
        command += ["-H", header]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if row.script is not None:
            Path(script.name).write_text(row.script)
            command += ["-s", script.name]
        command.append(f"http://127.0.0.1:{port}{row.target}")
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wrong = _FAILURES.search(said) or (checked and bool(_NOT_200.search(said)) != row.refused)
    rate = _RATE.search(said)
    if wrong or rate is None:
        raise SystemExit(f"bench: {row.name!r} on port {port} went wrong:\n{said}")
    return float(rate[1])
