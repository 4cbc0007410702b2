"""A Python with the Azure SDK, for a pod: an image made of the base of wisp's own, and a folder of packages beside it.

The packages are those that the SDKs' matrix is run with (tests/interop), for the Python in the image.
"""

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from image import archive, wheels
from image.base import debian_base
from image.commands import run
from wisp.lab.building import cache_folder

IMAGE = "python:3.11"
_REQUIREMENTS = Path(__file__).parents[1] / "interop" / "clients" / "python" / "requirements.txt"


def image(folder: Path) -> Path:
    """Make the image's archive in `folder`."""
    made = folder / "python.tar"
    shutil.copyfile(debian_base().removeprefix("oci-archive:"), made)
    archive.set_name(made, IMAGE)
    return made


def packages(cache: Path | None = None) -> Path:
    """Return the folder of packages, kept in `~/.cache/wisp/cluster-sdk-HASH/` and made anew when they are others."""
    key = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = (cache or cache_folder()) / f"cluster-sdk-{key}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".cluster-sdk-", dir=folder.parent) as draft:
            made = Path(draft, "packages")
            pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
            locked = ("--require-hashes", "--requirement", str(_REQUIREMENTS))
            run([*pip, "--root-user-action=ignore", *locked, *wheels.for_base(), "--target", str(made)])
            made.rename(folder)
    return folder
