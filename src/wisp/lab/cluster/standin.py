"""An image that stands for `ubuntu:20.04` where no registry is reached: Debian's packages, curl among them.

It is kept in `~/.cache/wisp/standin-HASH/` and made anew when it is a month old; that takes mmdebstrap twenty seconds.
"""

import hashlib
import tempfile
import time
from pathlib import Path

from wisp.lab.building import build, must_have
from wisp.lab.cluster.archive import Image, write_image

UBUNTU = "docker.io/library/ubuntu:20.04"
"""What kubelet asks the container runtime for when a pod says ubuntu:20.04."""
_SUITE = "bookworm"
_INCLUDED = "--include=ca-certificates,curl"
_KEPT = 30 * 86400  # seconds


def standin(cache: Path, architecture: str) -> Path:
    """Return the image's archive, made now if need be. Raise ToolError."""
    key = hashlib.sha256(repr((UBUNTU, _SUITE, _INCLUDED, architecture)).encode()).hexdigest()[:12]
    archive = cache / f"standin-{key}" / "ubuntu.tar"
    if not archive.exists() or archive.stat().st_mtime < time.time() - _KEPT:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".standin-", dir=archive.parent) as folder:
            draft, layer = Path(folder, "ubuntu.tar"), Path(folder, "layer.tar")
            must_have("mmdebstrap", UBUNTU, "apt-get install mmdebstrap")
            build(UBUNTU, ["mmdebstrap", "--variant=minbase", _INCLUDED, _SUITE, str(layer)])
            write_image(draft, Image(UBUNTU, layer, ("/bin/bash",)), architecture)
            draft.replace(archive)
    return archive
