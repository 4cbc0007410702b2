"""Throughput and latency by wrk over TLS, one thread; servers alternate within a round."""

import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.load import PATIENT, wrk
from bench.webhook.processes import PATH, Server
from bench.webhook.review import review

_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_P99 = re.compile(r"99%\s+([\d.]+)(us|ms|s)")
_COUNT = re.compile(r"(\d+) requests in")
_WRONG = re.compile(r"(Socket errors|Non-2xx).*")
_IN_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_POST = """
local file = io.open("%s", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "%s"
file:close()
"""
_DIFFERENT = """
local number = 0
local before, after = wrk.body:match("^(.-)NUMBER(.*)$")
request = function()
  number = number + 1
  return wrk.format(nil, nil, nil, before .. string.format("%06d", number) .. after)
end
"""


class Row(NamedTuple):
    """One kind of load."""

    name: str
    connections: int
    body: bytes
    """With NUMBER in it, no two reviews are of the same pod."""
    path: str = PATH
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()


ROWS = (
    Row("a Deployment's pods, 1 connection", 1, review()),
    Row("a Deployment's pods, 16 connections", 16, review()),
    Row("with the sidecar, 1 connection", 1, review(sidecar=True)),
    Row("with the sidecar, 16 connections", 16, review(sidecar=True)),
    Row("every pod differs, 1 connection", 1, review(different=True)),
    Row("every pod differs, 16 connections", 16, review(different=True)),
    Row("every pod differs, with the sidecar, 16 connections", 16, review(different=True, sidecar=True)),
)


class Measured(NamedTuple):
    """What one run of wrk found: answers a second, the 99th percentile in seconds, and how many answers there were."""

    rate: float
    p99: float
    answers: int


@dataclass
class Findings:
    """All runs, by row and server."""

    seen: dict[tuple[str, str], list[Measured]] = field(default_factory=dict)

    def rate(self, row: Row, server: str) -> float:
        """Return the median of the rounds."""
        return statistics.median(each.rate for each in self.seen[row.name, server])

    def p99(self, row: Row, server: str) -> float:
        """Return the median of the rounds, in seconds."""
        return statistics.median(each.p99 for each in self.seen[row.name, server])

    def ratio(self, row: Row) -> float:
        """Return the median of the rounds' ratios of the webhook to the bare server."""
        rounds = zip(self.seen[row.name, "wisp"], self.seen[row.name, "bare"], strict=True)
        return statistics.median(ours.rate / theirs.rate for ours, theirs in rounds)


def measure(servers: Mapping[str, Server], *, rounds: int, seconds: int, rows: Sequence[Row] = ROWS) -> Findings:
    """Load every server in turn, `seconds` each, `rounds` times."""
    findings = Findings()
    for turn in range(rounds):
        for row in rows:
            for name in list(servers) if turn % 2 == 0 else list(reversed(list(servers))):
                findings.seen.setdefault((row.name, name), []).append(run(servers[name], row, seconds))
    return findings


def run(server: Server, row: Row, seconds: int) -> Measured:
    """Run wrk once. An answer other than 200 makes the figure worthless, and is an error."""
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "post.lua")
        body.write_bytes(row.body)
        script.write_text(_POST % (body, row.content_type) + (_DIFFERENT if b"NUMBER" in row.body else ""))
        options = [word for header in row.headers for word in ("-H", header)]
        command = [
            wrk(),
            *options,
            "-t1",
            f"-c{row.connections}",
            f"-d{seconds}s",
            PATIENT,
            "--latency",
            "-s",
            str(script),
        ]
        said = subprocess.run(
            [*command, f"https://127.0.0.1:{server.port}{row.path}"], check=True, capture_output=True, text=True
        ).stdout
    rate, p99, count = _RATE.search(said), _P99.search(said), _COUNT.search(said)
    if _WRONG.search(said) or rate is None or p99 is None or count is None:
        raise SystemExit(f"bench: {row.name!r} on port {server.port} went wrong:\n{said}")
    return Measured(float(rate[1]), float(p99[1]) * _IN_SECONDS[p99[2]], int(count[1]))
