"""Runs buildah with a storage of its own, which is deleted afterwards: only the archive is left on the machine."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from image.commands import IMAGE, run
from wisp_local.sandbox.builds import Builder
from wisp_local.sandbox.folders import draft_folder


def build(
    builder: Builder, containerfile: Path, archive: Path, *, options: Sequence[str] = (), what: str = IMAGE
) -> None:
    """Build an OCI archive; the context is the Containerfile's folder. Raise ToolError.

    Works as root without a daemon, user namespaces or overlay.
    """
    with draft_folder(Path(tempfile.gettempdir()), "wisp-image-") as storage:
        where = ("--root", f"{storage}/root", "--runroot", f"{storage}/run", "--storage-driver", "vfs")
        how = ("--isolation", "chroot", "--layers=false", "--format", "oci", "--tag", f"oci-archive:{archive}")
        context = ("--file", str(containerfile), str(containerfile.parent))
        run(["buildah", *where, "build", *how, *options, *context], builder, what=what, step="buildah")
