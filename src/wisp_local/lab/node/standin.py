"""Images made of Debian's packages where no registry is reached, first that which stands for `ubuntu:20.04`.

They are cached in `~/.cache/wisp/standin-HASH/` and built again when they are a month old, which takes mmdebstrap 20
seconds.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from wisp_local.lab.node.archive import Image, write_image
from wisp_local.sandbox.building import Builder, Product

UBUNTU = "docker.io/library/ubuntu:20.04"
"""What kubelet asks the container runtime for when a pod says ubuntu:20.04."""
_SUITE = "bookworm"
_SLIM = (
    '--aptopt=APT::Install-Recommends "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "info", "locale", "man")),
)
"""Options of mmdebstrap that leave out a quarter of the bytes: each start of a cluster unpacks them."""
_MAX_AGE = 30 * 86400  # seconds


@dataclass(frozen=True)
class Recipe:
    """An image called `name` of Debian's smallest system and `packages`, which runs `command` unless told otherwise."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]


STANDIN = Recipe(UBUNTU, ("ca-certificates", "curl"), ("/bin/bash",))


def standin(cache: Path, architecture: str, recipe: Recipe = STANDIN, builder: Builder | None = None) -> Path:
    """Return the image's archive, built now if it is not cached. Raise ToolError."""
    key = hashlib.sha256(repr((recipe, _SUITE, _SLIM, architecture)).encode()).hexdigest()[:12]
    builder = builder or Builder()
    name = f"the stand-in for {recipe.name}"

    def make(draft: Path) -> Path:
        archive, layer = draft / "image.tar", draft / "layer.tar"
        included = f"--include={','.join(recipe.packages)}"
        builder.run(name, ["mmdebstrap", "--variant=minbase", *_SLIM, included, _SUITE, str(layer)])
        write_image(archive, Image(recipe.name, layer, recipe.command), architecture)
        return archive

    product = Product(
        name=name,
        reason="clusters on this machine pull no images, so this one is made of Debian packages",
        usual_duration="about 20 seconds, up to 75 seconds on a busy machine",
        path=f"standin-{key}/image.tar",
        tools={"mmdebstrap": "apt-get install mmdebstrap"},
        max_age=_MAX_AGE,
    )
    return builder.obtain(product, cache, make)
