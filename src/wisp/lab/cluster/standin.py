"""Images made of Debian's packages where no registry is reached, first that which stands for `ubuntu:20.04`.

They are kept in `~/.cache/wisp/standin-HASH/` and made anew when they are a month old; that takes mmdebstrap twenty
seconds.
"""

import hashlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from wisp.lab.building import build, must_have
from wisp.lab.cluster.archive import Image, write_image

UBUNTU = "docker.io/library/ubuntu:20.04"
"""What kubelet asks the container runtime for when a pod says ubuntu:20.04."""
_SUITE = "bookworm"
_KEPT = 30 * 86400  # seconds


@dataclass(frozen=True)
class Recipe:
    """An image called `name` of Debian's smallest system and `packages`, which runs `command` unless told otherwise."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]


STANDIN = Recipe(UBUNTU, ("ca-certificates", "curl"), ("/bin/bash",))


def standin(cache: Path, architecture: str, recipe: Recipe = STANDIN) -> Path:
    """Return the image's archive, made now if need be. Raise ToolError."""
    key = hashlib.sha256(repr((recipe, _SUITE, architecture)).encode()).hexdigest()[:12]
    archive = cache / f"standin-{key}" / "image.tar"
    if not archive.exists() or archive.stat().st_mtime < time.time() - _KEPT:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".standin-", dir=archive.parent) as folder:
            draft, layer = Path(folder, "image.tar"), Path(folder, "layer.tar")
            must_have("mmdebstrap", recipe.name, "apt-get install mmdebstrap")
            included = f"--include={','.join(recipe.packages)}"
            build(recipe.name, ["mmdebstrap", "--variant=minbase", included, _SUITE, str(layer)])
            write_image(draft, Image(recipe.name, layer, recipe.command), architecture)
            draft.replace(archive)
    return archive
