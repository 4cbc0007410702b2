"""`python -m tests.fuzz`: fuzz every target for so long, replay an input, or take new ones into the corpus.

`python -m tests.fuzz growth` measures how the work of every parser grows with its input.
"""

import argparse
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.campaign import FOUND, HEADING, Bounds, Outcome, fuzz, merge
from tests.fuzz.catalogue import EVERY, TARGETS
from tests.fuzz.growth import MOST_GROWTH, REPORT_HEADING
from tests.fuzz.parsers import PARSERS
from tests.fuzz.stage import Extent, measure_all, measure_shape, path_of

_KEPT = Path.home() / ".cache" / "wisp" / "fuzz"


def main() -> int:
    """Do what the arguments say; return the exit status."""
    arguments = _arguments()
    if arguments.command == "replay":
        return _replay(arguments.target, arguments.file)
    if arguments.command == "growth":
        return _growth(arguments) if arguments.shape is None else _measured(arguments)
    if find_spec("atheris") is None:
        sys.stdout.write(
            "fuzz: atheris is not installed: it is built for CPython 3.11 to 3.14 on Linux, x86-64. "
            "The committed corpus is replayed without it, by pytest tests/fuzz\n"
        )
        return 2
    if arguments.command == "keep":
        taken = merge(arguments.target, arguments.folder)
        sys.stdout.write(f"{taken} inputs taken into the corpus of {arguments.target}\n")
        return 0
    return _run(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the request path.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="fuzz")
    run.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all of them if none is named")
    run.add_argument("--seconds", type=int, default=60, help="for all of the targets together, at most")
    run.add_argument("--seed", type=int, default=1, help="0: a new one each time")
    run.add_argument("--endless", action="store_true", help="until the time is up, however many inputs that is")
    run.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    run.add_argument("--kept", type=Path, help=f"keep new inputs there and begin with them (say {_KEPT})")
    run.add_argument("--corpus", type=Path, help="begin there instead of with the committed corpus")
    growth = commands.add_parser("growth", help="measure how the work of parsers grows with their input")
    growth.add_argument("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(PARSERS)}; all if none is named")
    growth.add_argument("--seconds", type=float, default=60, help="for all of the parsers together, at most")
    growth.add_argument("--seed", type=int, default=1, help="0: a new one each time")
    growth.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parsers at a time")
    growth.add_argument("--kept", type=Path, help="also repeat parts of the inputs that fuzzing has left there")
    growth.add_argument("--shape", type=Path, help="measure one PARSER with the shape in this file")
    replay = commands.add_parser("replay", help="try inputs once, without the engine")
    replay.add_argument("target", choices=EVERY)
    replay.add_argument("file", type=Path, nargs="+")
    keep = commands.add_parser("keep", help="take those inputs into the corpus that reach something new")
    keep.add_argument("target", choices=TARGETS)
    keep.add_argument("folder", type=Path)
    return parser.parse_args()


def _replay(name: str, files: list[Path]) -> int:
    for file in files:
        sys.stdout.write(f"{file}\n")
        EVERY[name].check(file.read_bytes())
    sys.stdout.write(f"{len(files)} held\n")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    names = arguments.targets or list(TARGETS)
    unknown = [name for name in names if name not in EVERY]
    if unknown:
        sys.stdout.write(f"fuzz: there is no target {unknown[0]}; there are {', '.join(EVERY)}\n")
        return 2
    seed = arguments.seed or time.time_ns() % (1 << 31)
    jobs = max(1, min(arguments.jobs, len(names)))
    share = max(1, arguments.seconds * jobs // len(names))
    sys.stdout.write(f"fuzz: seed {seed}, {share} s a target at most, {jobs} at a time\n{HEADING}\n")
    sys.stdout.flush()
    bounds = Bounds(share, seed, endless=arguments.endless, jobs=jobs, corpus=arguments.corpus)
    outcomes = fuzz(names, bounds, kept=arguments.kept)
    sys.stdout.write("".join(f"{outcome}\n" for outcome in outcomes))
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failed:
        sys.stdout.write(_explained(outcome))
    return 1 if failed else 0


def _growth(arguments: argparse.Namespace) -> int:
    names = arguments.parsers or list(PARSERS)
    if not _are_parsers(names):
        return 2
    seed = arguments.seed or time.time_ns() % (1 << 31)
    jobs = max(1, min(arguments.jobs, len(names)))
    extent = Extent(arguments.seconds * jobs / len(names), seed, arguments.kept)
    sys.stdout.write(f"growth for 8 times the size, at most {MOST_GROWTH:g}: seed {seed}\n{REPORT_HEADING}\n")
    failed = 0
    for report in measure_all(names, extent, jobs):
        sys.stdout.write(f"{report}\n")
        sys.stdout.flush()
        if not report.worst.is_linear:
            failed = 1
            command = f"{sys.executable} -m tests.fuzz growth '{report.name}' --shape {path_of(report)}"
            sys.stdout.write(f"The shape is in {FOUND}/; measure it again with:\n    {command}\n")
    return failed


def _measured(arguments: argparse.Namespace) -> int:
    if len(arguments.parsers) != 1:
        sys.stdout.write("fuzz: name the one parser that --shape is for\n")
        return 2
    if not _are_parsers(arguments.parsers):
        return 2
    found = measure_shape(arguments.parsers[0], arguments.shape)
    sys.stdout.write(f"growth {found.factor:.1f} from {found.size} to {8 * found.size} bytes\n")
    return 0 if found.is_linear else 1


def _are_parsers(names: list[str]) -> bool:
    unknown = [name for name in names if name not in PARSERS]
    if unknown:
        sys.stdout.write(f"fuzz: there is no parser {unknown[0]}; there are {', '.join(PARSERS)}\n")
    return not unknown


def _explained(outcome: Outcome) -> str:
    report = f"\n--- {outcome.name}\n{outcome.failure}\n"
    if outcome.found is None:
        return report + "No input was saved: the engine itself failed, as above.\n"
    replay = f"{sys.executable} -m tests.fuzz replay {outcome.name} {outcome.found}"
    return report + f"The input is in {FOUND}/; replay it with:\n    {replay}\n"


if __name__ == "__main__":
    sys.exit(main())
