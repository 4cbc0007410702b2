"""Run the engine on several targets in parallel and report the results; a failure saves its input."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.catalogue import EVERY, corpus
from tests.support.paths import ROOT

FOUND = Path("fuzz-found")
"""Where inputs that break an invariant are left, below the present folder."""

_WORDS = Path(__file__).with_name("words")
_STATUS = re.compile(r"^#(\d+)\s+(INITED|DONE)\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
_EXECUTED = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
_UNCAUGHT = "=== Uncaught Python exception: ===\n"
_LONGEST_UNIT = 120
"""Seconds that one input may take: machines are busy, so this finds endless loops and nothing else."""


class Bounds(NamedTuple):
    """How long to fuzz: at most `seconds` per target, and the target's number of inputs unless `endless`."""

    seconds: int
    seed: int
    endless: bool = False
    jobs: int = 1
    corpus: Path | None = None
    """Where to begin, instead of the committed corpus."""


class Outcome(NamedTuple):
    """What fuzzing one target did. Coverage is in edges of wisp's own code, features as libFuzzer counts them."""

    name: str
    executions: int
    coverage: tuple[int, int]
    features: tuple[int, int]
    inputs: tuple[int, int]
    failure: str = ""
    """The last output of the engine if an invariant failed."""
    found: Path | None = None
    """The input on which it did."""

    def __str__(self) -> str:
        grown = (f"{a:>6,} → {b:<6,}" for a, b in (self.coverage, self.features, self.inputs))
        return f"{self.name:<28} {self.executions:>11,}  {'  '.join(grown)}  {'FAILED' if self.failure else 'ok'}"


HEADING = f"{'target':<28} {'executions':>11}  {'edges':<15}  {'features':<15}  {'inputs':<15}"


def fuzz(names: Sequence[str], bounds: Bounds, *, kept: Path | None = None) -> list[Outcome]:
    """Fuzz `names`. New inputs are saved in `kept`, if given, by target, and tried first the next time."""
    with ThreadPoolExecutor(bounds.jobs) as pool:
        return list(pool.map(lambda name: _fuzz(name, bounds, kept), names))


def merge(name: str, source: Path) -> int:
    """Add those inputs in `source` that reach something new to the committed corpus of `name`; return their number."""
    before = len(list(corpus(name).iterdir()))
    with tempfile.TemporaryDirectory() as folder:
        command = Path(folder, "engine")
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz.engine {name} "$@"\n')
        command.chmod(0o700)
        flags = ["-merge=1", f"-max_len={EVERY[name].longest}", str(corpus(name)), str(source)]
        done = _engine(name, flags, FUZZ_COMMAND=str(command))
    if done.returncode or "MERGE-OUTER: attempt" not in done.stderr:
        raise SystemExit(done.stderr)
    return len(list(corpus(name).iterdir())) - before


def _fuzz(name: str, bounds: Bounds, kept: Path | None) -> Outcome:
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = (Path(folder) if kept is None else kept) / name
        work.mkdir(parents=True, exist_ok=True)
        words = Path(folder, "words")
        words.write_text("".join((_WORDS / f"{word}.dict").read_text() for word in EVERY[name].words))
        before = _crashes()
        done = _engine(name, [*_flags(name, bounds), f"-dict={words}", str(work), str(bounds.corpus or corpus(name))])
        return _outcome(name, done, sorted(_crashes() - before))


def _flags(name: str, bounds: Bounds) -> list[str]:
    target = EVERY[name]
    flags = [
        f"-seed={bounds.seed}", f"-max_total_time={bounds.seconds}", f"-max_len={target.longest}",
        f"-timeout={_LONGEST_UNIT}", f"-artifact_prefix={FOUND}/{name}-",
        "-reload=0", "-print_final_stats=1",
    ]  # fmt: skip
    return flags if bounds.endless else [*flags, f"-runs={target.runs}"]


def _engine(name: str, flags: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the engine with a fixed hash seed, so that the same inputs are tried in the same order."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "tests.fuzz.engine", name, *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, errors="replace")


def _crashes() -> set[Path]:
    return set(FOUND.iterdir())


def _outcome(name: str, done: subprocess.CompletedProcess[str], crashes: Sequence[Path]) -> Outcome:
    statistics = {kind: tuple(map(int, figures)) for _, kind, *figures in _STATUS.findall(done.stderr)}
    first = statistics.get("INITED", (0, 0, 0))
    last = statistics.get("DONE", first)
    executed = _EXECUTED.search(done.stderr)
    failure = _failure(done) if done.returncode else ""
    mine = [crash for crash in crashes if crash.name.startswith(f"{name}-")]
    return Outcome(
        name,
        int(executed[1]) if executed else 0,
        (first[0], last[0]),
        (first[1], last[1]),
        (first[2], last[2]),
        failure,
        mine[0] if mine else None,
    )


def _failure(done: subprocess.CompletedProcess[str]) -> str:
    """Return the Python exception, or else the end of the engine's output."""
    _, found, uncaught = done.stdout.partition(_UNCAUGHT)
    return uncaught.strip() if found else "\n".join(done.stderr.splitlines()[-20:])
