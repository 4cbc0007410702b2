"""No parser of foreign text does super-linear work, and one that does is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.growth import Growth, Parse, Parser, Shape, growth, measure
from tests.fuzz.parsers import COMMON, PARSERS
from tests.support.paths import ROOT

pytestmark = pytest.mark.system

FORMER_FAULTS = {
    "a filter's word": ("filters", Shape(b"", b"a")),
    "a watch's unfinished line": ("watch", Shape(b"", b"a")),
    "comments that end in CRLF": ("manifest", Shape(b"", b"#\r\n", b"x")),
    "brackets in a manifest": ("manifest", Shape(b"", b"[")),
    "escapes of a token": ("masking", Shape(b"", b"eyJ")),
    "beginnings of tokens": ("masking", Shape(b"", b"eyJhbGciOiJSUzI1NiJ9.")),
}
"""Shapes whose work grew with the square of their size, or faster."""


@pytest.mark.fuzz
@pytest.mark.parametrize("name, shape", FORMER_FAULTS.values(), ids=FORMER_FAULTS)
def test_shapes_that_were_super_linear_are_linear(name: str, shape: Shape) -> None:
    found = growth(PARSERS[name].run, shape, PARSERS[name].longest)
    assert found.is_linear, found


def _quadratic(data: bytes) -> None:
    """Mask tokens in quadratic time: search from each `eyJ` to the end of the text."""
    re.sub(rb"eyJ[\w-]*\.[\w-]*\.[\w-]*", b"***", data)


def _exponential(data: bytes) -> None:
    re.match(rb"(?:#.*\r?\n)*x", data)


@pytest.mark.parametrize(
    "parse, shape",
    [
        pytest.param(_quadratic, Shape(b"", b"eyJ"), id="quadratic"),
        pytest.param(_exponential, Shape(b"", b"#\r\n"), id="exponential"),
    ],
)
def test_super_linear_work_is_found(parse: Parse, shape: Shape) -> None:
    """Whether it grows quadratically or doubles with each repetition."""
    assert not growth(parse, shape).is_linear


def test_linear_work_is_not_reported() -> None:
    """Even with a large constant part."""

    def parse(data: bytes) -> None:
        sum(range(50_000))
        for _ in range(8):
            re.findall(rb"a", data)

    assert growth(parse, Shape(b"", b"a")).is_linear


def test_measurement_ends_at_the_first_super_linear_shape() -> None:
    """The report names it, and its growth."""
    parser = Parser(_quadratic, units=(b"eyJ",))
    report = measure("masking", parser, parser.shapes(COMMON), lambda: False)
    assert (report.shapes, report.shape.unit) == (1, b"eyJ")
    assert re.fullmatch(r"masking +1 +\d+\.\d  FAILED  '<<\*eyJ>>'", str(report))


def test_shape_file_is_read_as_it_was_written() -> None:
    """Also with line ends, and with a unit that looks like the end of one."""
    for shape in (Shape(b"a\r\n", b"\r\n", b"b"), Shape(b"", b"*>", b""), Shape(b"<<", b"<", b"b>>")):
        assert Shape.of(shape.encode()) == shape
    with pytest.raises(ValueError, match="repeated"):
        Shape.of(b"a<<3*b>>c")


def test_rejection_of_a_shape_is_not_a_failure() -> None:
    """Other exceptions are."""
    Parser(int).run(b"x")
    with pytest.raises(ZeroDivisionError):
        Parser(lambda _: 1 // 0).run(b"x")


def test_growth_limit_separates_linear_from_quadratic() -> None:
    """Linear work grows eightfold for eight times the size, quadratic work 64-fold."""
    assert Growth(8.0, 1).is_linear
    assert not Growth(64.0, 1).is_linear


def _fuzz(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.fuzz", "growth", *arguments]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_command_line_reports_every_parser(tmp_path: Path) -> None:
    """A shape in a file is measured alone; an unknown parser is an error."""
    done = _fuzz(tmp_path, "--seconds", "0", "--jobs", "1", "claims")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^claims +1 .* ok ", done.stdout, re.MULTILINE)
    (tmp_path / "shape").write_bytes(b"a.<<*b>>.c")
    done = _fuzz(tmp_path, "claims", "--shape", "shape")
    assert (done.returncode, done.stdout[:7]) == (0, "growth ")
    done = _fuzz(tmp_path, "nothing")
    assert done.returncode == 2
    assert "claims" in done.stdout
