"""Where two strings differ, in pieces a reader can take in; knows nothing of what they mean.

Words are compared first and characters only within words that resemble each other: `default` against `kube-system`
is one difference, not five letters that happen to be in both.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

from wisp_local.cloud.pages.distance import distance

_WORD = re.compile(r"\w+|\W", re.DOTALL)
_WORDS = 150  # a side; SequenceMatcher is cubic at its worst, and what is longer is not read word by word anyway


@dataclass(frozen=True)
class Piece:
    """A run of characters that is in both strings, or `differs`."""

    text: str
    differs: bool


@dataclass(frozen=True)
class Difference:
    """Both strings in pieces; the pieces of a side, put together, are the string."""

    presented: tuple[Piece, ...]
    expected: tuple[Piece, ...]


def compare(presented: str, expected: str) -> Difference:
    """Say where `presented` and `expected` differ."""
    runs = list(_by_words(presented, expected))
    return Difference(_side((left, same) for left, _, same in runs), _side((right, same) for _, right, same in runs))


_Run = tuple[str, str, bool]  # what either side has here, and whether it is the same


def _by_words(left: str, right: str) -> Iterator[_Run]:
    words = _WORD.findall(left), _WORD.findall(right)
    if max(map(len, words)) > _WORDS:
        yield from _by_ends(left, right)
        return
    for one, other, same in _matched(*words):
        if same or not _resemble(one, other):
            yield one, other, same
        else:
            yield from _matched(one, other)


def _matched(left: Sequence[str], right: Sequence[str]) -> Iterator[_Run]:
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        yield "".join(left[i1:i2]), "".join(right[j1:j2]), tag == "equal"


def _by_ends(left: str, right: str) -> Iterator[_Run]:
    """Compare what is too long for more by what both begin and end with."""
    start = _common(left, right)
    end = _common(left[start:][::-1], right[start:][::-1])
    yield left[:start], right[:start], True
    yield left[start : len(left) - end], right[start : len(right) - end], False
    yield left[len(left) - end :], right[len(right) - end :], True


def _common(left: str, right: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _resemble(left: str, right: str) -> bool:
    """Tell whether characters are worth comparing: at most every other one is wrong, case aside."""
    return 2 * distance(left.lower(), right.lower()) <= max(len(left), len(right)) <= 4 * _WORDS


def _side(runs: Iterator[tuple[str, bool]]) -> tuple[Piece, ...]:
    """Join neighbours of a kind and leave out what is empty."""
    present = ((text, same) for text, same in runs if text)
    groups = groupby(present, key=lambda run: run[1])
    return tuple(Piece("".join(text for text, _ in group), not same) for same, group in groups)
