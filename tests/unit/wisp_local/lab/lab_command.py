"""A lab as its users run it: every `wisp lab` command is a process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from tests.support.waiting import PATIENCE, wait_until


@dataclass(frozen=True)
class LabCommand:
    """`wisp lab` for the lab in `folder`, of a user with an empty `home`; the lab has a port of its own."""

    folder: Path
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `wisp lab` with a command and its options."""
        command, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", "wisp", "lab", command, "--lab", str(self.folder), *rest],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), **self.variables},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def up(self, *arguments: str) -> str:
        """Start the lab, on a free port the first time, and return the output."""
        first = () if (self.folder / "lab.json").exists() else ("--port=0",)
        done = self.run("up", *first, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Return the status; the exit status of the command is 0 if there is no problem."""
        done = self.run("status", "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (1 if found["problems"] else 0)
        return found

    @property
    def pid(self) -> int:
        """The running cloud's process id."""
        return int(self.status()["running"]["pid"])

    @property
    def url(self) -> str:
        """The running cloud's address."""
        return str(self.status()["running"]["url"])

    def answers(self) -> bool:
        """Tell whether the cloud answers."""
        with urllib3.PoolManager(ca_certs=str(self.folder / "cloud.db.ca.pem"), retries=False) as pool:
            return bool(pool.request("GET", f"{self.url}/healthz").status == 200)

    def kill(self) -> None:
        """Kill the cloud, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: self.status()["running"] is None)
