"""Runs `wisp run` with a separate home folder, and finds the processes that serve it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE, wait_until

WISP = (sys.executable, "-m", "wisp", "run")
SDK = (
    "from azure.identity import DefaultAzureCredential; "
    "print(DefaultAzureCredential().get_token('https://vault.azure.net/.default').expires_on)"
)
"""An application that asks azure-identity for a token."""

_CURL = 'curl -s -o /dev/null -w "%{http_code} "'
_QUERY = '"$IDENTITY_ENDPOINT?resource=https://vault.azure.net'
DIALECTS = f"""
{_CURL} -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" {_QUERY}&api-version=2019-08-01"
{_CURL} -H "secret: $MSI_SECRET" {_QUERY}&api-version=2017-09-01"
{_CURL} -H Metadata:true {_QUERY}&api-version=2018-02-01"
{_CURL} -H Metadata:true -d resource=https://vault.azure.net "$MSI_ENDPOINT"
{_CURL} -H "X-IDENTITY-HEADER: wrong" {_QUERY}&api-version=2019-08-01"
{_CURL} {_QUERY}&api-version=2019-08-01"
"""
"""Requests as in App Service (2019, 2017), the metadata service and Cloud Shell; a wrong header, and none."""


@dataclass(frozen=True)
class Runner:
    """Runs commands with `environment`, which puts state and logs below `folder`."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def state(self) -> Path:
        """The user's state file."""
        return self.folder / "state/wisp/run.db"

    @property
    def logs(self) -> Path:
        """The folder of its logs."""
        return self.folder / "state/wisp/run.db.logs"

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `wisp run` with these arguments to its end, and wait until nothing serves it any more."""
        done = subprocess.run(
            [*WISP, *arguments],
            input=stdin,
            env={**self.environment, **variables},
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE,
        )
        wait_until(lambda: self.serving() == [])
        return done

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Start `wisp run` with these arguments; its standard output is a pipe."""
        environment = dict(self.environment)
        return subprocess.Popen([*WISP, *arguments], env=environment, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]  # as Popen has them

    def serving(self) -> list[int]:
        """Return the processes that serve runs of this folder: attendants, whose log is in it, and their children.

        Only root can see the files of the children, which hold tokens and keys.
        """
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "fd/2").readlink().is_relative_to(self.folder):
                    found.append(int(entry.name))
        for pid in found:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                found += [child for child in children if child not in found]
        return found

    def log_text(self) -> str:
        """Return the content of all logs."""
        return "".join(log.read_text(encoding="utf-8") for log in self.logs.glob("*.log"))


def runner(folder: Path) -> Runner:
    """Return a runner in `folder` whose environment has only what finds programs."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    return Runner(folder, {**environment, "PYTHONDONTWRITEBYTECODE": "1"})


@pytest.fixture(name="runner")
def runner_fixture(tmp_path: Path) -> Iterator[Runner]:
    """Return a runner; afterwards none of its processes may be running."""
    created = runner(tmp_path)
    yield created
    wait_until(lambda: created.serving() == [])
