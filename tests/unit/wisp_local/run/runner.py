"""Runs `wisp run` for real, with a home of its own, and looks at what serves it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import PATIENCE, wait_until

WISP = (sys.executable, "-m", "wisp", "run")
SDK = (
    "from azure.identity import DefaultAzureCredential; "
    "print(DefaultAzureCredential().get_token('https://vault.azure.net/.default').expires_on)"
)
"""What the issue shows."""

_CURL = 'curl -s -o /dev/null -w "%{http_code} "'
_ASKED = '"$IDENTITY_ENDPOINT?resource=https://vault.azure.net'
DIALECTS = f"""
{_CURL} -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" {_ASKED}&api-version=2019-08-01"
{_CURL} -H "secret: $MSI_SECRET" {_ASKED}&api-version=2017-09-01"
{_CURL} -H Metadata:true {_ASKED}&api-version=2018-02-01"
{_CURL} -H Metadata:true -d resource=https://vault.azure.net "$MSI_ENDPOINT"
{_CURL} -H "X-IDENTITY-HEADER: wrong" {_ASKED}&api-version=2019-08-01"
{_CURL} {_ASKED}&api-version=2019-08-01"
"""
"""A shell's questions: App Service's of 2019 and 2017, the metadata service's, Cloud Shell's; a wrong header, none."""


@dataclass(frozen=True)
class Runner:
    """Runs commands with `environment`, which keeps state and logs below `folder`."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def state(self) -> Path:
        """The user's own state file."""
        return self.folder / "state/wisp/run.db"

    @property
    def logs(self) -> Path:
        """Where the logs of runs with it are."""
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
        """Return the processes that serve runs of this folder: attendants, whose log is in it, and what they started.

        Only root can look at the files of the others, which hold tokens and keys.
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

    def said(self) -> str:
        """Return what all logs say."""
        return "".join(each.read_text(encoding="utf-8") for each in self.logs.glob("*.log"))


def runner(folder: Path) -> Runner:
    """Return a runner in `folder` whose environment has nothing but what finds programs."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    return Runner(folder, {**environment, "PYTHONDONTWRITEBYTECODE": "1"})
