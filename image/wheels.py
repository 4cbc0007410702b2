"""Collects the wheels of the locked requirements and our own in a folder, so that the build needs no network.

The pip of this machine fetches them, with its configuration: the image names no package index.
"""

import platform
import shutil
import sys
from pathlib import Path

from image.commands import run
from wisp_local.sandbox.builds import Builder
from wisp_local.sandbox.folders import draft_folder, move_into_place
from wisp_local.sandbox.signals import run_program

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_OWN = ("--no-deps", "--no-build-isolation")
PYTHON = "3.11"
"""The version of the base's Python."""
_GLIBC = (
    "_2_36",
    "_2_35",
    "_2_34",
    "_2_31",
    "_2_28",
    "_2_27",
    "_2_26",
    "_2_24",
    "_2_17",
    "2014",
    "_2_12",
    "2010",
    "_2_5",
    "1",
)
"""The manylinux platforms that Debian 12 supports; pip needs all their names."""


def fetch(source: Path, folder: Path, machine: str | None = None, builder: Builder | None = None) -> None:
    """Replace the folder's content by the packages of `requirements/image.txt`, with their hashes, and our own wheel.

    `machine` is the architecture as the kernel names it, by default this machine's. Raise ToolError.
    """
    builder = builder or Builder()
    with draft_folder(folder.parent, f".{folder.name}-") as draft:
        made = draft / folder.name
        made.mkdir()
        locked = ["--require-hashes", "--requirement", str(source / "requirements/image.txt")]
        run([*_PIP, "download", *locked, *for_base(machine), "--dest", str(made)], builder, step="pip download")
        run([*_PIP, "wheel", *_OWN, "--wheel-dir", str(made), str(source)], builder, step="pip wheel")
        shutil.rmtree(folder, ignore_errors=True)
        move_into_place(made, folder)


def for_base(machine: str | None = None) -> list[str]:
    """Return pip's options for the Python of the base, which may differ from the running one."""
    abis = (f"cp{PYTHON.replace('.', '')}", "abi3", "none")
    platforms = [f"--platform=manylinux{glibc}_{machine or platform.machine()}" for glibc in _GLIBC]
    version = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    return [*version, *(f"--abi={abi}" for abi in abis), *platforms]


def main() -> int:
    """Fetch the wheels; return the exit status. Raise ToolError."""
    root = Path(__file__).parent.parent
    fetch(root, root / "build/wheels")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
