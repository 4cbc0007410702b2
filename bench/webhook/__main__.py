"""Measures the webhook against a bare TLS server: `make bench-webhook`, or `python -m bench.webhook [--write]`."""

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.compiled import compile_sidecar
from bench.load import wrk
from bench.processes import Memory
from bench.report import machine, table, write
from bench.webhook.load import ROWS, Findings, measure, run
from bench.webhook.processes import Server, ask, bare, surroundings, webhook
from bench.webhook.review import review

_METHOD = (
    "wrk with one thread over TLS 1.3, kept connections, reviews of {size:,} bytes as an API server sends them; "
    "{rounds} rounds of {seconds} s for each server in turn; medians of the rounds and of their ratios. The service "
    "account is in the cache. Memory from /proc (VmRSS / RssAnon, 1 MB = 1,000,000 bytes), of a webhook with all "
    "that it has in a cluster: three watches, certificates, cache. Load average at the end, wrk "
    "and the server included: {busy:.0f}."
)


def main() -> None:
    """Measure, print, and write if asked to."""
    arguments = _arguments()
    wrk()
    compile_sidecar()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        around = stack.enter_context(surroundings(Path(folder)))
        ours = stack.enter_context(webhook(around))
        context = around.trusted()
        status, _, size = ask(ours, review(), context)
        if status != 200:
            raise SystemExit(f"bench: no answer to a review: HTTP {status}")
        servers = {"bare": stack.enter_context(bare(size, Path(folder))), "wisp": ours}
        time.sleep(1)
        memory = [("idle, ready for a second", Memory.of(ours.pid)), after_reviews(ours, arguments.reviews)]
        found = measure(servers, rounds=arguments.rounds, seconds=arguments.seconds)
        memory.append(("after the load above", Memory.of(ours.pid)))
    section = _section(found, memory, arguments)
    print(section)
    if arguments.write:
        write(section, "bench.webhook")


def after_reviews(server: Server, reviews: int) -> tuple[str, Memory]:
    """Put at least so many reviews to the server, with and without a sidecar; return its memory then."""
    count = 0
    while count < reviews:
        for row in ROWS:
            count += run(server, row, 1).answers
    return f"after {count:,} reviews", Memory.of(server.pid)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.webhook", description="Measure the webhook against a bare TLS server.")
    parser.add_argument("--write", action="store_true", help="update docs/explanation/performance.md")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of load for each server, row and round")
    parser.add_argument("--reviews", type=int, default=100_000, help="before memory is read")
    return parser.parse_args()


def _section(found: Findings, memory: list[tuple[str, Memory]], arguments: argparse.Namespace) -> str:
    rows = [
        [
            row.name,
            f"{found.rate(row, 'bare'):,.0f}",
            f"{found.rate(row, 'wisp'):,.0f}",
            f"{found.ratio(row):.2f}",
            f"{found.p99(row, 'bare') * 1e3:.1f} ms",
            f"{found.p99(row, 'wisp') * 1e3:.1f} ms",
        ]
        for row in ROWS
    ]
    throughput = table(["reviews a second", "bare", "wisp", "wisp ÷ bare", "p99, bare", "p99, wisp"], rows)
    occupied = table(["memory, MB", "resident / anonymous"], [[name, str(each)] for name, each in memory])
    method = _METHOD.format(size=len(review()), busy=os.getloadavg()[0], **vars(arguments))
    return f"{machine()}\n\n{method}\n\n{throughput}\n\n{occupied}"


if __name__ == "__main__":
    main()
