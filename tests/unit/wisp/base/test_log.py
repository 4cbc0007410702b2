"""The log has one JSON object per line and is bounded."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import Clock
from wisp.base.log import MOST, Log


class Lines:
    """A log file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)

    def read(self) -> list[dict[str, Any]]:
        """Return the logged lines."""
        return [json.loads(line) for line in self._path.read_text().splitlines()]


@pytest.fixture
def lines(tmp_path: Path) -> Generator[Lines]:
    """Return an empty log file."""
    lines = Lines(tmp_path / "log")
    yield lines
    os.close(lines.descriptor)


@pytest.mark.parametrize(
    "level, events",
    [
        ("debug", ["d", "i", "w"]),
        ("info", ["i", "w"]),
        ("warning", ["w"]),
        ("error", []),
    ],
)
def test_events_of_the_level_and_above_are_written(lines: Lines, level: str, events: list[str]) -> None:
    log = Log(level, lines.descriptor)
    log.debug("d")
    log.info("i")
    log.warning("w")
    assert [line["event"] for line in lines.read()] == events


def test_line_has_time_level_event_and_fields(lines: Lines) -> None:
    """Any text is valid as a field."""
    Log("info", lines.descriptor).info("token served", reason='a\n"b" é \udcff', seconds=0.5, nothing=None)
    (line,) = lines.read()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "token served",
        "reason": 'a\n"b" é \udcff',
        "seconds": 0.5,
        "nothing": None,
    }


def test_long_text_is_cut(lines: Lines) -> None:
    """A pipe accepts a line of this length as a whole."""
    Log("info", lines.descriptor).info("token served", reason="x" * 9999)
    assert len(lines.read()[0]["reason"]) == 2048


def test_number_of_lines_a_minute_is_limited_per_event(lines: Lines) -> None:
    """The next line that is written counts those left out."""
    clock = Clock()
    log = Log("info", lines.descriptor, clock)
    for _ in range(1000):
        log.info("request refused")
    log.warning("exchange failed")
    log.info("request refused")
    clock.now += 60.0
    log.info("request refused")
    events = [(line["event"], line.get("left_out")) for line in lines.read()]
    assert events == [
        *[("request refused", None)] * MOST,
        ("exchange failed", 1000 - MOST),
        ("request refused", 1),
    ]


def test_number_of_lines_is_not_limited_at_debug_level(lines: Lines) -> None:
    log = Log("debug", lines.descriptor)
    for _ in range(2 * MOST):
        log.debug("token answered")
    assert len(lines.read()) == 2 * MOST


def test_full_pipe_drops_lines_and_counts_them() -> None:
    """The first line written after the pipe has room again has the count."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    try:
        while True:
            filled += os.write(writer, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    log = Log("info", writer)
    for _ in range(3):
        log.info("token served")
    while filled:
        filled -= len(os.read(reader, filled))
    log.info("token served")
    assert json.loads(os.read(reader, 65536))["left_out"] == 3
    os.close(reader)
    log.info("nobody reads this")
    os.close(writer)
    log.info("nor this")
