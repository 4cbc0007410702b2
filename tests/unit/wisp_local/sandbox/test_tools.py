"""A build tool is read line by line, and stopped with everything that it has started."""

import os
import signal
import subprocess
import sys
from collections import UserDict
from collections.abc import ItemsView
from contextlib import AbstractContextManager

import pytest

from wisp.base.errors import ToolError
from wisp_local.sandbox.builds import output_lines, running_tool

STUBBORN = """
import os, signal, subprocess
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "60"])
print(os.getpid(), child.pid, flush=True)
child.wait()
"""


def _started(*command: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return running_tool(command, None, os.environ, patience=0.1)


def test_output_is_read_line_by_line() -> None:
    """Blank lines are skipped, errors are included, and the last line needs no end."""
    with _started("sh", "-c", "echo one; echo; echo two >&2; printf three") as tool:
        assert [line for line in output_lines(tool) if line is not None] == ["one", "two", "three"]
    assert tool.returncode == 0


def test_output_that_is_not_text_is_readable() -> None:
    """A tool may print anything."""
    with _started("printf", "a\\377b") as tool:
        assert [line for line in output_lines(tool) if line is not None] == ["a\N{REPLACEMENT CHARACTER}b"]


def test_tool_that_ignores_signals_is_killed_with_its_children() -> None:
    """SIGKILL to the group ends them when nothing else does."""
    processes = []

    def interrupt() -> None:
        with _started(sys.executable, "-c", STUBBORN) as tool:
            processes.extend(next(line for line in output_lines(tool) if line is not None).split())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


class InterruptingEnvironment(UserDict[str, str]):
    """An environment during whose reading Ctrl-C is pressed: the tool is just being started."""

    def items(self) -> ItemsView[str, str]:
        """Return the variables."""
        signal.raise_signal(signal.SIGINT)
        return super().items()


def test_interruption_while_the_tool_is_being_started_is_announced() -> None:
    """The tool is there by then, and is stopped."""
    announced = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        environment = InterruptingEnvironment(os.environ)
        with (
            pytest.raises(KeyboardInterrupt),
            running_tool(("sleep", "60"), None, environment, interrupted=lambda: announced.append("once")),
        ):
            pytest.fail("the block is not entered")
    finally:
        signal.signal(signal.SIGINT, before)
    assert announced == ["once"]


def test_tool_that_does_not_exist_is_reported() -> None:
    """The error names it."""
    with pytest.raises(ToolError, match="no-such-tool cannot be started"), _started("no-such-tool"):
        pass
