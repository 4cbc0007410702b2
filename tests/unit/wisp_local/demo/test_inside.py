"""The process that runs the steps."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import PATIENCE
from wisp_local.sandbox.interpreter import in_place, this_interpreter
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.processes import base_environment

LOOPBACK = Attempt(Mode.LOOPBACK, several_users=False)


ENVIRONMENT = base_environment(os.environ)


def test_inside_ends_when_its_standard_input_does(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "wisp_local.demo.inside", "loopback", "one", str(folder)],
        env={**ENVIRONMENT, **in_place(this_interpreter()).environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as inside:
        assert inside.stdin is not None
        assert inside.stdout is not None
        assert b'"Ready"' in inside.stdout.readline()
        inside.stdin.close()
        assert b'"Finished"' not in inside.stdout.read()
        assert inside.wait(PATIENCE) == 1
    assert not folder.exists()
