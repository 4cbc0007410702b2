"""An image that stands for `ubuntu:20.04` where no registry is reached: Debian's packages, curl among them.

It is kept in `~/.cache/wisp/standin-HASH/` and made anew when it is a month old; that takes mmdebstrap twenty seconds.
"""

import hashlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from wisp.errors import ToolError
from wisp.lab.cluster.archive import Image, write_image

UBUNTU = "docker.io/library/ubuntu:20.04"
"""What kubelet asks the container runtime for when a pod says ubuntu:20.04."""
_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "curl")
_KEPT = 30 * 86400  # seconds
_TIMEOUT = 900  # seconds; a cold mirror is slow


def standin(cache: Path, architecture: str) -> Path:
    """Return the image's archive, made now if need be. Raise ToolError."""
    key = hashlib.sha256(repr((UBUNTU, _SUITE, _PACKAGES, architecture)).encode()).hexdigest()[:12]
    archive = cache / f"standin-{key}" / "ubuntu.tar"
    if not archive.exists() or archive.stat().st_mtime < time.time() - _KEPT:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".standin-", dir=archive.parent) as folder:
            draft, layer = Path(folder, "ubuntu.tar"), Path(folder, "layer.tar")
            _bootstrap(layer)
            write_image(draft, Image(UBUNTU, layer, ("/bin/bash",)), architecture)
            draft.replace(archive)
    return archive


def _bootstrap(layer: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise ToolError("there is no mmdebstrap on PATH", remedy="apt-get install mmdebstrap")
    wanted = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, str(layer)]
    try:
        done = subprocess.run(
            wanted,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        problem = f"mmdebstrap took longer than {_TIMEOUT} s"
        raise ToolError(problem, remedy="see whether Debian's mirror answers") from None
    if done.returncode != 0:
        raise ToolError(f"mmdebstrap failed:\n{done.stderr[-2000:]}", remedy="see above")
