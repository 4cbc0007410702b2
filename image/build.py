"""Builds the image: base, wheels, Containerfile, name, and the list of what is in it."""

import subprocess
from pathlib import Path

from image import archive, sbom, storage, wheels
from image.base import debian_base

SOURCE = Path(__file__).parent.parent
DEBIAN = "debian"
"""The base that is made here, of Debian's packages."""


def build(name: str, output: Path, base: str = DEBIAN, source: Path = SOURCE) -> Path:
    """Build the OCI archive `output` and `<output>.cdx.json` beside it; return the archive. Raise ToolError.

    `base` is whatever a FROM takes, or `debian`.
    """
    found = debian_base() if base == DEBIAN else base
    wheels.fetch(source, source / "build/wheels")
    options = ["--build-arg", f"BASE={found}", "--timestamp", str(_committed(source))]
    storage.build(source / "Containerfile", source, output, options)
    archive.set_name(output, name)
    sbom.path_for(output).write_text(sbom.describe(output, name, source / "build/wheels"))
    return output


def _committed(source: Path) -> int:
    """Return when the source was committed, for every file's time: the same source gives the same image."""
    asked = subprocess.run(
        ["git", "-C", source, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    return int(asked.stdout) if asked.returncode == 0 else 0
