"""`wisp redirect up --proxy-port=PORT`, as pods run it, is the command that people run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.redirect.pod import NEEDED, pod


def _wisp(*arguments: str, path: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "wisp", *arguments],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("port", ["8000", "0", "99999"])
def test_it_fails_as_the_command_does(tmp_path: Path, port: str) -> None:
    """With the same words and the same status."""
    short = _wisp("redirect", "up", f"--proxy-port={port}", path=str(tmp_path))
    assert short == _wisp("redirect", "up", "--proxy-port", port, path=str(tmp_path))
    assert short[0] != 0


@pytest.mark.system
@pytest.mark.needs(*NEEDED)
def test_it_does_what_the_command_does() -> None:
    """The second changes nothing and says the same."""
    with pod() as inside:
        said = [
            inside.must(sys.executable, "-m", "wisp", "redirect", "up", *words)
            for words in (("--proxy-port=9000",), ("--proxy-port", "9000"))
        ]
        rules = inside.must("nft", "list", "ruleset")
    assert said[0] == said[1]
    assert "127.0.0.1:9000" in said[0]
    assert "9000" in rules


def test_no_command_line_library_is_loaded(tmp_path: Path) -> None:
    """It takes every pod's time."""
    program = (
        "import sys; sys.argv = ['wisp', 'redirect', 'up', '--proxy-port=8000']\n"
        "from wisp.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print('click' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
