"""The node's first process starts programs in their order, and again when they end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from wisp_local.lab.node.inside import Plan, read_plan, write_plan
from wisp_local.lab.node.layout import Layout
from wisp_local.lab.node.programs import Program

_SUPERVISE = """\
import sys
from pathlib import Path
from wisp_local.lab.node.inside import Supervisor, read_plan
from wisp_local.lab.node.layout import Layout
layout = Layout(Path(sys.argv[1]))
Supervisor(layout).keep(read_plan(layout))
"""


@pytest.fixture(name="layout")
def _layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    return layout


def _shell(name: str, script: str, *, needs_api: bool = False) -> Program:
    return Program(name, ("sh", "-c", script), needs_api)


@pytest.fixture(name="plan")
def _plan(layout: Layout) -> Plan:
    """Give a plan whose first command fails until there is a file called `api`."""
    programs = (
        _shell("server", "echo server >> started; exec sleep 600"),
        _shell("client", "echo client >> started; [ -e stay ] && exec sleep 600; exit 1", needs_api=True),
    )
    plan = Plan(programs, _shell("first", "echo first >> started; [ -e api ]"))
    write_plan(layout, plan)
    return plan


@pytest.fixture(name="started")
def _started(layout: Layout, plan: Plan) -> Iterator[Path]:
    """Supervise, and give the file that has a line for each start."""
    assert read_plan(layout) == plan
    supervisor = subprocess.Popen([sys.executable, "-c", _SUPERVISE, layout.folder], process_group=0)
    try:
        yield layout.folder / "started"
    finally:
        supervisor.kill()
        supervisor.wait()
        _end_all(layout.folder)


def test_what_needs_the_api_server_waits_for_it(started: Path) -> None:
    """Until the first command succeeds, which is tried again; what ends by itself is started again, too."""
    wait_until(lambda: _lines(started).count("first") >= 2, "another try")
    assert "client" not in _lines(started)
    (started.parent / "api").touch()
    wait_until(lambda: _lines(started).count("client") >= 2, "another start")
    (started.parent / "stay").touch()
    tries = _lines(started).count("first")
    assert _lines(started).count("server") == 1
    assert _lines(started).index("client") > max(
        number for number, each in enumerate(_lines(started)) if each == "first"
    )
    assert tries >= 3


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").splitlines() if file.exists() else []


def _end_all(folder: Path) -> None:
    """End what was started in the folder: each program has a session of its own."""
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if (each / "cwd").resolve() == folder.resolve():
                os.kill(int(each.name), 9)
        except (OSError, ValueError):
            continue
