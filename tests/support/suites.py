"""Runs test suites one after the other and reports how long each took: `python3 -m tests.support.suites TARGET...`.

A suite is a target of the Makefile. The first that fails ends the run. The last lines are the times, and the summary of
the suite that ran last, so the end of a log shows what failed.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TextIO

_SUMMARY = re.compile(r"\b\d+ (passed|failed|errors?|skipped)\b.* in [\d.]+s")


class Suite(NamedTuple):
    """A suite that ran: its exit status, the seconds that it took, and pytest's last summary line, or ""."""

    target: str
    status: int
    seconds: float
    summary: str


def run(target: str, out: TextIO, clock: Callable[[], float] = time.monotonic) -> Suite:
    """Run a target of the Makefile, and pass on what it prints."""
    out.write(f"--- make {target}\n")
    begun, summary = clock(), ""
    command = ["make", "--no-print-directory", target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            out.write(line)
            out.flush()
            summary = line.rstrip() if _SUMMARY.search(line) else summary
    return Suite(target, process.returncode, clock() - begun, summary)


def run_all(targets: Sequence[str], run_one: Callable[[str], Suite]) -> list[Suite]:
    """Run the targets in order, up to the first that fails."""
    suites: list[Suite] = []
    for target in targets:
        suites.append(run_one(target))
        if suites[-1].status != 0:
            break
    return suites


def report(suites: Sequence[Suite]) -> str:
    """Return the table of times, and below it the summary of the suite that ran last."""
    rows = [(f"make {suite.target}", suite.seconds, "" if suite.status == 0 else "  FAILED") for suite in suites]
    rows.append(("total", sum(suite.seconds for suite in suites), ""))
    table = [f"{name:<16} {seconds:>6,.0f} s{failed}" for name, seconds, failed in rows]
    return "\n".join(["", *table, suites[-1].summary, ""])


def main(targets: Sequence[str]) -> int:
    """Run the suites; return the exit status, which is 130 after Ctrl-C."""
    try:
        suites = run_all(targets, lambda target: run(target, sys.stdout))
    except KeyboardInterrupt:  # make and pytest have heard it, too
        return 130
    sys.stdout.write(report(suites))
    return 1 if any(suite.status != 0 for suite in suites) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
