"""A lab as its users run it: `wisp lab`, each command a process of its own."""

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
class Lab:
    """The lab in `folder`, of a user with nothing but `home`; it takes a port of its own."""

    folder: Path
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `wisp lab ...` to its end."""
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
        """Start it, on a free port at first, and return what was said."""
        first = () if (self.folder / "lab.json").exists() else ("--port=0",)
        done = self.run("up", *first, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Return what it says of itself; the exit status is 0 where there is no problem."""
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
        """Tell whether its cloud answers."""
        with urllib3.PoolManager(ca_certs=str(self.folder / "cloud.db.ca.pem"), retries=False) as pool:
            return bool(pool.request("GET", f"{self.url}/healthz").status == 200)

    def kill(self) -> None:
        """Kill the cloud, and see it gone."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: self.status()["running"] is None)
