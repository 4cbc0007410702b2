"""How the work of a parser grows with its input: a shape is an input with a part that can be repeated at will.

Time is CPU time of this process, and what is judged is its growth from one size to eight times that size, never a
duration: a slow or busy machine must not fail it. Linear work grows eightfold, quadratic work 64-fold.
"""

import gc
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import NamedTuple

Parse = Callable[[bytes], object]

MOST_GROWTH = 24.0
"""Growth for eight times the size that is still taken for linear: room for caches, allocation and logarithms."""
_STEEP = 12.0
"""Growth for twice the size that needs no further look: of cubic work it is 8."""
_MEASURABLE = 0.0003
"""Seconds from which on a time can be compared. What takes less at LONGEST bytes is not compared at all."""
_SMALLEST = 32
LONGEST = 1 << 17
"""Bytes of the longest input, if a parser has no limit of its own."""
_DOUBLINGS = 5
"""Sizes that are compared, each twice the one before: quadratic work that is a small share shows at the last."""
_TRIES = 5
_REPEATED = re.compile(rb"<<\*(.+?)>>(?!>)", re.DOTALL)


class Shape(NamedTuple):
    """An input of any size: `unit` repeated between `before` and `after`."""

    before: bytes
    unit: bytes
    after: bytes = b""

    def sized(self, size: int) -> bytes:
        """Return the input with about `size` bytes of the unit."""
        return self.before + self.unit * max(1, size // len(self.unit)) + self.after

    def encode(self) -> bytes:
        """Return the content of the shape's file."""
        return b"%b<<*%b>>%b" % self

    @classmethod
    def of(cls, text: bytes) -> "Shape":
        """Parse the result of `encode`. Raise ValueError if nothing is repeated."""
        found = _REPEATED.search(text)
        if found is None:
            raise ValueError("a shape has a part <<*UNIT>> that is repeated")
        return cls(text[: found.start()], found[1], text[found.end() :])


class Parser(NamedTuple):
    """A parser of foreign text. Inputs that it refuses are as good as others; what it raises then is in `refusals`."""

    parse: Parse
    contexts: tuple[bytes, ...] = (b"<<*%b>>",)
    """Where a unit is put: `%b` stands for it."""
    units: tuple[bytes, ...] = ()
    """Units besides the common ones."""
    corpora: tuple[str, ...] = ()
    """Corpora of the fuzzer whose inputs are of this form."""
    refusals: tuple[type[Exception], ...] = (ValueError,)
    longest: int = LONGEST
    """Bytes of the longest input."""

    def run(self, data: bytes) -> None:
        """Parse `data`."""
        with suppress(RecursionError, *self.refusals):
            self.parse(data)

    def shapes(self, common: Sequence[bytes]) -> Iterator[Shape]:
        """Yield every unit in every context, its own units first."""
        for unit in dict.fromkeys((*self.units, *common)):
            for context in dict.fromkeys(context.replace(b"%b", unit) for context in self.contexts):
                if context not in self.contexts or unit == common[0]:  # one without %b has a unit of its own
                    yield Shape.of(context)

    def shapes_of(self, inputs: Sequence[bytes], random: Random) -> Iterator[Shape]:
        """Yield as many shapes as there are inputs in a corpus, four times over: inputs with a part repeated."""
        for data in (*inputs, *inputs, *inputs, *inputs):
            if data:
                start = random.randrange(len(data))
                end = min(len(data), start + random.choice((1, 2, 3, 5, 8, 20, 200)))
                yield Shape(data[:start], data[start:end], data[end:])


class Growth(NamedTuple):
    """How much more time eight times the size takes; `size` is the smaller. 0.0 where nothing could be measured."""

    factor: float
    size: int

    @property
    def is_linear(self) -> bool:
        """Whether the growth is compatible with linear work."""
        return self.factor < MOST_GROWTH


def growth(run: Parse, shape: Shape, longest: int = LONGEST) -> Growth:
    """Measure how `run` grows, up to an input of `longest` bytes.

    A measurement that is not linear is made again, since the machine may have been busy.
    """
    found = Growth(0.0, 0)
    for _ in range(_TRIES):
        found = _measured(run, shape, longest)
        if found.is_linear:
            break
    return found


def _measured(run: Parse, shape: Shape, longest: int) -> Growth:
    """Measure at doubled sizes, from the first measurable one; the constant part is subtracted."""
    size, constant = _SMALLEST, _seconds(run, shape.sized(_SMALLEST))
    times = [constant]
    while times[-1] < 2 * constant + _MEASURABLE:
        if size >= longest:
            return Growth(0.0, size)
        size *= 2
        times.append(_seconds(run, shape.sized(size)))
        if times[-1] > _STEEP * max(times[-2], _MEASURABLE):
            return Growth(8 * times[-1] / times[-2], size // 2)  # the next step might not end
    times, worst = [times[-1] - constant], Growth(0.0, size)
    while len(times) < _DOUBLINGS and size << len(times) <= longest:
        times.append(_seconds(run, shape.sized(size << len(times))) - constant)
        if times[-1] > _STEEP * times[-2]:
            return Growth(8 * times[-1] / times[-2], size << len(times) - 2)
        if len(times) > 3:
            worst = max(worst, Growth(times[-1] / times[-4], size << len(times) - 4))
    return worst


def _seconds(run: Parse, data: bytes) -> float:
    """Return the CPU time of the fastest of several runs."""
    gc.collect(0)
    gc.disable()
    try:
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            run(data)
            best = min(best, time.process_time() - begun)
            if best > 10 * _MEASURABLE:  # noise is small in comparison
                break
        return best
    finally:
        gc.enable()


class Report(NamedTuple):
    """What measuring one parser gave: the steepest growth that was found, and by which shape."""

    name: str
    shapes: int
    worst: Growth
    shape: Shape

    def __str__(self) -> str:
        verdict = "ok" if self.worst.is_linear else "FAILED"
        excerpt = ascii(self.shape.encode()[-40:].decode("latin-1"))
        return f"{self.name:<28} {self.shapes:>6,}  {self.worst.factor:>6.1f}  {verdict:<6}  {excerpt}"


REPORT_HEADING = f"{'parser':<28} {'shapes':>6}  {'growth':>6}"


def measure(name: str, parser: Parser, shapes: Iterable[Shape], end: Callable[[], bool]) -> Report:
    """Measure a parser with `shapes` until one is not linear, there are no more, or `end` says so."""
    worst, by, count = Growth(0.0, 0), Shape(b"", b"", b""), 0
    for shape in shapes:
        if count and end():
            break
        count += 1
        found = growth(parser.run, shape, parser.longest)
        if found > worst:
            worst, by = found, shape
        if not found.is_linear:
            break
    return Report(name, count, worst, by)
