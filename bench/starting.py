"""How long commands take that start a local cloud, from their start to their end; `make bench-cloud` prints it."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import table

_WISP = (sys.executable, "-m", "wisp")
_ASK_FOR_ONE = (
    "from azure.identity import DefaultAzureCredential as Credential; "
    "Credential().get_token('https://vault.azure.net/.default')"
)
_COMMANDS = {
    "`wisp run -- true`": (*_WISP, "run", "--", "true"),
    "`wisp run`, a token by azure-identity": (*_WISP, "run", "--", sys.executable, "-c", _ASK_FOR_ONE),
    "`wisp demo --mode loopback`": (*_WISP, "demo", "--mode", "loopback"),
    "`pytest`, a test with `wisp_imds`": (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
}
_PROJECT = {
    "conftest.py": 'pytest_plugins = ["wisp_local.testing"]\n',
    "test_it.py": "def test_it(wisp_imds):\n    pass\n",
}


def starting(rounds: int) -> str:
    """Run every command `rounds` times and once before, in which it makes its state; return a table of the medians."""
    rows = []
    for name, command in _COMMANDS.items():
        with tempfile.TemporaryDirectory() as folder:
            for file, text in _PROJECT.items():
                Path(folder, file).write_text(text)
            first, *later = (_seconds(command, folder) for _ in range(1 + rounds))
        rows.append([name, f"{first:.2f} s", f"{statistics.median(later):.2f} s"])
    return table(["from the start of a command to its end", "first ever", "later"], rows)


def _seconds(command: tuple[str, ...], folder: str) -> float:
    environment = {"PATH": os.environ["PATH"], "HOME": folder}
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return took
