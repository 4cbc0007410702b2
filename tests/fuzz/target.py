"""A fuzz target: its name, a check of arbitrary bytes, and ways to vary the same bytes."""

import re
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple
from zlib import crc32

Check = Callable[[bytes], None]

_REPEATED = re.compile(rb"<<(\d{1,6})\*([^<>]{1,64})>>")
_LONGEST = 200_000
_ONE_BY_ONE = 2048


class Target(NamedTuple):
    """`check` raises any exception if an invariant fails; `runs` is the number of inputs that `make fuzz` tries."""

    check: Check
    runs: int
    words: tuple[str, ...]
    """Dictionaries, by the names of files in words/, for the engine to put into inputs."""
    longest: int = 4096
    """Bytes of the longest input."""


def expanded(data: bytes) -> bytes:
    """Return `data` with `<<70000*a>>` expanded: limits are larger than an input can be."""
    room = _LONGEST

    def repeated(match: re.Match[bytes]) -> bytes:
        nonlocal room
        text = match[2] * min(int(match[1]), room // len(match[2]))
        room -= len(text)
        return text

    return _REPEATED.sub(repeated, data)


def cuttings(data: bytes) -> Iterator[list[bytes]]:
    """Yield ways to cut `data` into pieces. They depend only on `data`, so that an input is reproducible."""
    if len(data) <= _ONE_BY_ONE:
        yield [data[at : at + 1] for at in range(len(data))]
    random = Random(crc32(data))  # noqa: S311 -- to be the same each time, and no secret
    places = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(1, 8)))
    yield [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
