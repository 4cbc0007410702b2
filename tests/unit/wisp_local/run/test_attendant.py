"""The attendant runs until its command ends."""

import os
import subprocess
from pathlib import Path

from wisp_local.run.attendant import attend
from wisp_local.run.messages import Ready
from wisp_local.run.services import Services


def test_attendant_renews_while_the_command_runs() -> None:
    """The renewal ends the command here, and so the attendant."""
    with subprocess.Popen(["sleep", "infinity"]) as command, Path(os.devnull).open("wb") as terminal:
        pidfd = os.pidfd_open(command.pid)
        try:
            attend(pidfd, terminal.fileno(), Services(Ready(1, "id", None), (), command.kill), interval=1)
        finally:
            os.close(pidfd)
            command.kill()
    assert command.returncode != 0
