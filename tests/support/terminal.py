"""A terminal with an interactive shell, for tests that press keys and read the screen."""

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping

from tests.support.waiting import wait_until

_SHELL = ("bash", "--norc", "--noprofile", "-i")
_PROMPT = "ready> "


class Terminal:
    """A pseudo terminal's screen and keyboard."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._screen = ""

    def press(self, keys: str) -> None:
        """Press keys, without return."""
        os.write(self._descriptor, keys.encode())

    def enter(self, line: str) -> None:
        """Type a line."""
        self.press(line + "\n")

    def resize(self, rows: int, columns: int) -> None:
        """Resize the window."""
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until `pattern` is on the screen, and discard the screen up to its end."""
        wait_until(
            lambda: re.search(pattern, self._read()), lambda: f"{pattern!r} is not on the screen: {self._screen!r}"
        )
        found = re.search(pattern, self._screen)
        assert found is not None
        self._screen = self._screen[found.end() :]
        return found

    def _read(self) -> str:
        if select.select([self._descriptor], [], [], 0)[0]:
            self._screen += os.read(self._descriptor, 65536).decode()
        return self._screen

    def prompt(self) -> None:
        """Wait for the shell's prompt."""
        self.expect(_PROMPT)


@contextlib.contextmanager
def shell(environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run an interactive shell in a terminal of its own until the block is left."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            ["setsid", "--ctty", *_SHELL],
            env={**environment, "PS1": _PROMPT, "TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as started:
            os.close(theirs)
            terminal = Terminal(ours)
            terminal.prompt()
            try:
                yield terminal
            finally:
                started.kill()
    finally:
        os.close(ours)
