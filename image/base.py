"""A base image made of Debian's packages, for machines that reach no registry: Python, nft, conntrack and pip.

It is kept in `~/.cache/wisp/image-base-HASH/` and made anew when it is a week old, for Debian's security updates.
"""

import hashlib
import tempfile
import time
from pathlib import Path

from image.commands import run
from image.storage import build
from wisp.lab.building import cache_folder

SUITE = "bookworm"
"""Debian 12: Python 3.11, as the default base of the Containerfile has."""
PACKAGES = ("binutils", "ca-certificates", "conntrack", "nftables", "python3-venv")
_KEPT = 7 * 86400  # seconds
_CONTAINERFILE = "FROM scratch\nADD base.tar /\n"


def debian_base(cache: Path | None = None) -> str:
    """Return the base, made now if need be, as a Containerfile's FROM takes it. Raise ToolError."""
    key = hashlib.sha256(repr((SUITE, PACKAGES, _CONTAINERFILE)).encode()).hexdigest()[:12]
    archive = (cache or cache_folder()) / f"image-base-{SUITE}-{key}" / "base.oci.tar"
    if not archive.exists() or archive.stat().st_mtime < time.time() - _KEPT:
        with tempfile.TemporaryDirectory(prefix="wisp-base-") as folder:
            _make(Path(folder), archive)
    return f"oci-archive:{archive}"


def _make(folder: Path, archive: Path) -> None:
    included = f"--include={','.join(PACKAGES)}"
    run(["mmdebstrap", "--variant=minbase", included, SUITE, str(folder / "base.tar")])
    (folder / "Containerfile").write_text(_CONTAINERFILE)
    build(folder / "Containerfile", folder, archive)
