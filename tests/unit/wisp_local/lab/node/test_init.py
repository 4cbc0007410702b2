"""The node's first process starts programs in their order, and restarts those that end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from wisp_local.lab.node.configuration import Layout

_SUPERVISE = """\
import sys
from pathlib import Path
from wisp_local.lab.node.configuration import Layout, parse_plan
from wisp_local.lab.node.init import supervise
layout = Layout(Path(sys.argv[1]))
supervise(parse_plan(layout.plan.read_text()), layout)
"""
_PLAN = """\
[[programs]]
name = "server"
command = ["sh", "-c", "echo server >> started; exec sleep 600"]
[[programs]]
name = "client"
command = ["sh", "-c", "echo client >> started; [ -e stay ] && exec sleep 600; exit 1"]
needs_api = true
[first]
name = "first"
command = ["sh", "-c", "echo first >> started; [ -e api ]"]
"""


@pytest.fixture(name="layout")
def _layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    return layout


@pytest.fixture(name="starts")
def _starts(layout: Layout) -> Iterator[Path]:
    """Supervise a plan whose first command fails until a file `api` exists; give the file with a line per start."""
    layout.plan.write_text(_PLAN)
    supervisor = subprocess.Popen([sys.executable, "-c", _SUPERVISE, layout.folder], process_group=0)
    try:
        yield layout.folder / "started"
    finally:
        supervisor.kill()
        supervisor.wait()
        _kill_all(layout.folder)


@pytest.mark.system
def test_programs_that_need_the_api_server_wait_for_it(starts: Path) -> None:
    """The first command is repeated until it succeeds. A program that ends by itself is restarted."""
    wait_until(lambda: _lines(starts).count("first") >= 2, "another try")
    assert "client" not in _lines(starts)
    (starts.parent / "api").touch()
    wait_until(lambda: _lines(starts).count("client") >= 2, "another start")
    (starts.parent / "stay").touch()
    tries = _lines(starts).count("first")
    assert _lines(starts).count("server") == 1
    assert _lines(starts).index("client") > max(number for number, line in enumerate(_lines(starts)) if line == "first")
    assert tries >= 3


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").splitlines() if file.exists() else []


def _kill_all(folder: Path) -> None:
    """Kill the programs that run in the folder: each has a session of its own."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                os.kill(int(process.name), 9)
        except (OSError, ValueError):
            continue
