"""Measures the local Entra: `make bench-cloud`, or `python -m bench.cloud [--write]`. Needs wrk."""

import argparse
import http.client
import re
import ssl
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.entra import Entra, Requests, fill, requests, serving
from bench.load import PATIENT, wrk
from bench.processes import Memory
from bench.report import machine, table, write
from bench.starting import starting

FORM = "application/x-www-form-urlencoded"
_SCRIPT = """
local bodies, number = {}, 0
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
function request()
  number = number % #bodies + 1
  return wrk.format("POST", "PATH", {["Content-Type"] = "FORM"}, bodies[number])
end
"""
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_WRONG = re.compile(r"Socket errors:.*|Non-2xx.*")


class Load(NamedTuple):
    """Exchanges a second, and seconds that one took: the median and what 99 in 100 stayed below."""

    rate: float
    median: float
    most: float


class Column(NamedTuple):
    """What was seen of one state."""

    name: str
    filled: float
    megabytes: float
    idle: Memory
    one: Load
    sixteen: Load
    loaded: Memory


def latencies(entra: Entra, asked: Requests) -> list[float]:
    """Return the seconds that each exchange took, one after the other on one connection over TLS."""
    trust = ssl.create_default_context(cafile=entra.ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", entra.port, context=trust, timeout=120)
    try:
        return [_exchange(connection, asked.path, body) for body in asked.bodies]
    finally:
        connection.close()


def _exchange(connection: http.client.HTTPSConnection, path: str, body: str) -> float:
    begun = time.perf_counter()
    connection.request("POST", path, body, {"Content-Type": FORM})
    answer = connection.getresponse()
    said = answer.read()
    took = time.perf_counter() - begun
    if answer.status != 200:
        raise SystemExit(f"bench: no token: {said.decode()}")
    return took


def main() -> None:
    """Measure, print, and write if asked to."""
    arguments = _arguments()
    wrk()
    with tempfile.TemporaryDirectory() as folder:
        columns = [_column(Path(folder), count, arguments) for count in (1, arguments.identities)]
    section = f"{_render(columns, arguments)}\n\n{starting(arguments.rounds)}"
    print(section)
    if arguments.write:
        write(section, "bench.cloud")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.cloud", description="Measure the local Entra.")
    parser.add_argument("--write", action="store_true", help="update docs/explanation/performance.md")
    parser.add_argument("--identities", type=int, default=10_000, help="of the large state")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of load for each round")
    return parser.parse_args()


def _column(folder: Path, identities: int, arguments: argparse.Namespace) -> Column:
    state = folder / f"{identities}.db"
    filled = fill(state, identities)
    asked = requests(state, 500)
    with ExitStack() as stack:
        entra = stack.enter_context(serving(state))
        latencies(entra, Requests(asked.path, asked.bodies[:1]))
        idle = Memory.of(entra.pid)
        one, sixteen = (_load(folder, entra, asked, connections, arguments) for connections in (1, 16))
        loaded = Memory.of(entra.pid)
    name = f"{identities:,} {'identity' if identities == 1 else 'identities'}"
    return Column(name, filled, state.stat().st_size / 1e6, idle, one, sixteen, loaded)


def _load(folder: Path, entra: Entra, asked: Requests, connections: int, arguments: argparse.Namespace) -> Load:
    loads = [_wrk(folder, entra, asked, connections, arguments.seconds) for _ in range(arguments.rounds)]
    return Load(*(statistics.median(each) for each in zip(*loads, strict=True)))


def _wrk(folder: Path, entra: Entra, asked: Requests, connections: int, seconds: int) -> Load:
    bodies, script = folder / "bodies", folder / "load.lua"
    bodies.write_text("\n".join(asked.bodies))
    script.write_text(_SCRIPT.replace("BODIES", str(bodies)).replace("PATH", asked.path).replace("FORM", FORM))
    url = f"https://127.0.0.1:{entra.port}"
    command = [wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", PATIENT, "--latency", "-s", str(script), url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate, shares = _RATE.search(said), {share: float(n) * _SECONDS[unit] for share, n, unit in _LATENCY.findall(said)}
    if _WRONG.search(said) or rate is None or len(shares) != 2:
        raise SystemExit(f"bench: the load went wrong:\n{said}")
    return Load(float(rate[1]), shares["50"], shares["99"])


def _render(columns: list[Column], arguments: argparse.Namespace) -> str:
    head = ["the local Entra", *(each.name for each in columns)]
    rows = [
        ["exchanges a second, 1 connection", *(f"{each.one.rate:,.0f}" for each in columns)],
        ["one of them: median / 99 in 100", *(_times(each.one) for each in columns)],
        ["exchanges a second, 16 connections", *(f"{each.sixteen.rate:,.0f}" for each in columns)],
        ["one of them: median / 99 in 100", *(_times(each.sixteen) for each in columns)],
        ["memory after the first exchange, MB", *(str(each.idle) for each in columns)],
        ["memory after the load, MB", *(str(each.loaded) for each in columns)],
        ["making the state", *(f"{each.filled:.2f} s" for each in columns)],
        ["the state file", *(f"{each.megabytes:,.1f} MB" for each in columns)],
    ]
    method = (
        f"wrk with one thread over TLS, kept connections, {arguments.rounds} rounds of {arguments.seconds} s, medians. "
        "Every identity has 20 federated credentials, and each request is for another one. Memory from /proc (VmRSS / "
        "RssAnon, 1 MB = 1,000,000 bytes)."
    )
    return "\n\n".join([machine(), method, table(head, rows)])


def _times(load: Load) -> str:
    return f"{load.median * 1000:.2f} / {load.most * 1000:.2f} ms"


if __name__ == "__main__":
    main()
