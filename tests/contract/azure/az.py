"""PyPI's azure-cli, used as a person uses it: commands in a shell, with a home directory of its own."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.build import build, cache_folder
from tests.interop.recipes import AZ

_TIMEOUT = 300  # seconds for a whole script; a command takes about one
_PASSED = ("PATH", "LANG", "XDG_CACHE_HOME", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Failure:
    """Exit status and error text of `az`."""

    status: int
    text: str


@dataclass(frozen=True)
class Az:
    """`az` with the environment `variables`; it writes only to `home`."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, command: str) -> Any:
        """Run `az COMMAND`, which succeeds, and return what it printed: parsed, when it is JSON."""
        done = self._run(command)
        assert done.returncode == 0, f"az {command}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else done.stdout.strip()

    def fails(self, command: str) -> Failure:
        """Run `az COMMAND`, which fails, and return how."""
        done = self._run(command)
        assert done.returncode != 0, f"az {command}: {done.stdout}"
        return Failure(done.returncode, " ".join(done.stderr.split()))

    def script(self, text: str) -> str:
        """Run a shell script in which `az` and `wisp` are commands; return what it printed."""
        done = self._shell(f"set -eu\n{text}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def with_variables(self, **variables: str) -> "Az":
        """Return the same with more environment variables."""
        return Az(self.home, {**self.variables, **variables})

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        arguments = " ".join(shlex.quote(each) for each in shlex.split(command))
        return self._shell(f"az {arguments}")

    def _shell(self, text: str) -> subprocess.CompletedProcess[str]:
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        path = f"{self.home / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**passed, "HOME": str(self.home), **self.variables, "PATH": path}
        return subprocess.run(
            ["bash", "-c", text],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )


def new_home(folder: Path) -> Az:
    """Return an `az` that lives in `folder`, built now if it is not in the cache."""
    python = build(AZ, cache_folder()).folder / "venv" / "bin" / "python"
    program = folder / "bin" / "az"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -m azure.cli "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return Az(folder)
