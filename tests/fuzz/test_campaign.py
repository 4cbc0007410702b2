"""The fuzzer on targets with a rule removed: it finds the fault, saves the input, and prints how to replay it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fakes import token_target
from tests.support.paths import ROOT

HONEST = {
    "routing-without-metadata": b"GET " + token_target().encode() + b"\nMetadata: true\n\n",
    "connection-without-memory": b"GET / HTTP/1.1\r\nHost: x\r\n",
}
"""What each of the broken does as it should."""


def _fuzz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.fuzz
@pytest.mark.parametrize("name, honest", HONEST.items(), ids=HONEST)
def test_removed_rule_is_found_and_can_be_replayed(tmp_path: Path, name: str, honest: bytes) -> None:
    """From one valid input: the exit status reports it, and the printed command fails in the same way."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/honest").write_bytes(honest)
    whole = name.partition("-without-")[0]
    assert _fuzz(tmp_path, "replay", name, "corpus/honest").returncode == 0
    done = _fuzz(tmp_path, "run", "--seconds", "240", "--corpus", "corpus", name)
    assert done.returncode == 1, done.stdout
    assert "AssertionError" in done.stdout
    (found,) = (tmp_path / "fuzz-found").iterdir()
    replay = re.search(r"^    (.+ replay .+)$", done.stdout, re.MULTILINE)
    assert replay is not None
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    again = subprocess.run(
        shlex.split(replay[1]), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert "AssertionError" in again.stderr
    assert _fuzz(tmp_path, "replay", whole, str(found)).returncode == 0


@pytest.mark.fuzz
def test_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    """Executions, coverage and growth of a correct target are reported, and are equal."""
    first, second = (_fuzz(tmp_path, "run", "--seconds", "240", "--seed", "3", "assertion") for _ in range(2))
    assert first.returncode == 0, first.stdout
    assert re.search(r"^fuzz: seed 3, 240 s", first.stdout)
    assert re.search(r"^assertion +20,000 .* ok$", first.stdout, re.MULTILINE)
    assert second.stdout == first.stdout


def test_valid_input_is_replayed_without_the_engine(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"GET /metadata/instance\nMetadata: true\n\n")
    done = _fuzz(tmp_path, "replay", "routing", str(file))
    assert (done.returncode, done.stdout) == (0, f"{file}\n1 held\n")


def test_unknown_target_is_reported_with_the_known_ones(tmp_path: Path) -> None:
    done = _fuzz(tmp_path, "replay", "nothing", "x")
    assert done.returncode == 2
    assert "connection" in done.stderr
