"""Buildah, with a storage of its own that is gone afterwards: nothing is left on the machine but the archive."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from image.commands import run


def build(containerfile: Path, context: Path, archive: Path, options: Sequence[str] = ()) -> None:
    """Build an OCI archive. Works as root without a daemon, user namespaces or overlay. Raise ToolError."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wisp-image-") as storage:
        draft = Path(storage, "archive.tar")
        where = ("--root", f"{storage}/root", "--runroot", f"{storage}/run", "--storage-driver", "vfs")
        how = ("--isolation", "chroot", "--layers=false", "--format", "oci", "--tag", f"oci-archive:{draft}")
        run(["buildah", *where, "build", *how, *options, "--file", str(containerfile), str(context)])
        _move(draft, archive)


def _move(draft: Path, archive: Path) -> None:
    """Put the archive where it is wanted, whole or not at all, be that on another file system."""
    beside = archive.with_name(f".{archive.name}.{os.getpid()}")
    run(["mv", str(draft), str(beside)])
    beside.replace(archive)
