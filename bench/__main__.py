"""Measures the sidecar against a bare server: `make bench`, or `python -m bench [--write]`.

REFERENCE_PROXY=path adds a column for any other proxy that takes --proxy-port and the same environment.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.client import ask
from bench.compiled import compile_sidecar
from bench.dialects import besides, dialects
from bench.figures import first_token, growth, start_up
from bench.load import measure, wrk
from bench.processes import PROXY, Memory, Pod, Server, bare, pod, sidecar
from bench.report import Findings, render, write

_METHOD = (
    "wrk with one thread, {rounds} rounds of {seconds} s for each server in turn; medians of the rounds and of their "
    "ratios. Memory from /proc (VmRSS / RssAnon, 1 MB = 1,000,000 bytes). Start-up: medians of {pairs} interleaved "
    "pairs; ready when /readyz has answered, asked every 0.5 ms. First token: medians of {firsts}, from an authority "
    "on the same machine."
)


def main() -> None:
    """Measure, print, and write if asked to."""
    arguments = _arguments()
    wrk()
    compile_sidecar()
    with tempfile.TemporaryDirectory() as folder, pod(Path(folder)) as surroundings:
        found = _find(surroundings, arguments)
    section = render(found, _METHOD.format(**vars(arguments)))
    print(section)
    if arguments.write:
        write(section)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the sidecar against a bare server.")
    parser.add_argument("--write", action="store_true", help="update docs/explanation/performance.md")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of load for each server, row and round")
    parser.add_argument("--pairs", type=int, default=20, help="of start-ups")
    parser.add_argument("--firsts", type=int, default=5, help="first tokens, at once and later")
    return parser.parse_args()


def _find(surroundings: Pod, arguments: argparse.Namespace) -> Findings:
    start = start_up(surroundings, arguments.pairs)
    first = first_token(surroundings, arguments.firsts)
    grown = growth(surroundings, 200_000)
    with ExitStack() as stack:
        servers = _servers(stack, surroundings)
        rates = measure(servers, rounds=arguments.rounds, seconds=arguments.seconds)
        names = list(servers)
        loaded = {name: Memory.of(server.pid) for name, server in servers.items()}
    rows = dialects(surroundings)
    with besides(surroundings) as servers:
        rates.seen |= measure(servers, rounds=arguments.rounds, seconds=arguments.seconds, rows=rows).seen
    return Findings(names, rates, rows, start, first, grown, loaded)


def _servers(stack: ExitStack, surroundings: Pod) -> dict[str, Server]:
    """Start every column's server, each with its first token in hand."""
    ours = stack.enter_context(sidecar(PROXY, surroundings.environment))
    servers = {"bare": stack.enter_context(bare(ask(ours.port).size)), "wisp": ours}
    reference = os.environ.get("REFERENCE_PROXY")
    if reference:
        servers["reference"] = stack.enter_context(sidecar([reference], surroundings.environment))
        answer = ask(servers["reference"].port)
        if answer.status != 200:
            raise SystemExit(f"bench: {reference} gives no token: HTTP {answer.status} {answer.body.decode()}")
    return servers


if __name__ == "__main__":
    main()
