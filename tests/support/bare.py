"""Runs a command as on a machine with little more than Python, git and make: `python -m tests.support.bare COMMAND...`.

Every program that tests can do without (tests.support.needs) and every compiler or runtime of another language is
hidden, in a mount namespace of this process' own: the machine is not changed. HOME is an empty folder. Needs root.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.needs import INSTALL

_ESSENTIAL = ("ldd", "nsenter", "setpriv", "unshare")
"""Programs of packages that every Debian has (`Essential: yes`)."""
_OTHERS = ("cargo", "containerd", "etcd", "helm", "java", "javac", "kubectl", "mvn", "node", "npm", "rustc")
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")


def hidden(path: str) -> set[Path]:
    """Return the files of all programs to hide that are on `path` or in the system's folders."""
    names = {*INSTALL, *_OTHERS}.difference(_ESSENTIAL)
    folders = {*map(Path, path.split(os.pathsep)), *map(Path, _SYSTEM_FOLDERS)}
    return {(folder / name).resolve() for folder in folders for name in names if (folder / name).is_file()}


def main(command: Sequence[str]) -> int:
    """Hide the programs, run the command, and return its exit status."""
    if os.environ.get("WISP_BARE") != "1":  # first, a mount namespace
        again = ("unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.support.bare", *command)
        return subprocess.run(again, env={**os.environ, "WISP_BARE": "1"}, check=False).returncode
    for program in hidden(os.environ["PATH"]):
        subprocess.run(["mount", "--bind", "/dev/null", program], check=True)  # not executable, so not found on PATH
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "WISP_BARE")}
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(command, env={**environment, "HOME": home}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
