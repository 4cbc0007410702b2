"""Measure the growth of every parser, several in parallel, to find super-linear work."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path
from random import Random
from typing import NamedTuple
from zlib import crc32

from tests.fuzz.campaign import FOUND
from tests.fuzz.catalogue import corpus
from tests.fuzz.growth import Growth, Report, Shape, growth, measure
from tests.fuzz.parsers import COMMON, PARSERS
from tests.fuzz.target import expanded


class Extent(NamedTuple):
    """How long to measure a parser, in seconds of wall time, and where other inputs are."""

    seconds: float
    seed: int
    kept: Path | None = None


def measure_all(names: Sequence[str], extent: Extent, jobs: int) -> Iterator[Report]:
    """Yield the report of each parser in order; a super-linear shape is saved in FOUND."""
    with ProcessPoolExecutor(jobs) as pool:
        for report in pool.map(_measure, names, [extent] * len(names)):
            if not report.worst.is_linear:
                FOUND.mkdir(exist_ok=True)
                path_of(report).write_bytes(report.shape.encode())
            yield report


def path_of(report: Report) -> Path:
    """Return the path where the shape of a report is saved."""
    text = report.shape.encode()
    return FOUND / f"growth-{report.name.replace(' ', '-')}-{crc32(text):08x}"


def measure_shape(name: str, file: Path) -> Growth:
    """Measure one shape. Raise ValueError if the file contains none."""
    parser = PARSERS[name]
    return growth(parser.run, Shape.of(file.read_bytes()), parser.longest)


def _measure(name: str, extent: Extent) -> Report:
    parser = PARSERS[name]
    random = Random(f"{extent.seed} {name}")  # noqa: S311 -- to be the same each time, and no secret
    folders = [corpus(name) for name in parser.corpora]
    if extent.kept is not None:
        folders += [extent.kept / name for name in parser.corpora]
    files = sorted(file for folder in folders if folder.is_dir() for file in folder.iterdir())
    inputs = [expanded(file.read_bytes())[:4096] for file in files]
    random.shuffle(inputs)
    common = random.sample(COMMON, len(COMMON))
    shapes = parser.shapes(common)
    end = time.monotonic() + extent.seconds
    return measure(name, parser, chain(shapes, parser.shapes_of(inputs, random)), lambda: time.monotonic() > end)
