"""Builds a base image from Debian packages, for machines without access to an image registry.

It is cached in `~/.cache/wisp/image-base-SUITE-HASH/` and built again when it is a week old, for security updates.
"""

import hashlib
from pathlib import Path

from image.commands import run
from image.storage import build
from wisp_local.sandbox.builds import Builder, Product
from wisp_local.sandbox.folders import cache_folder

SUITE = "bookworm"
"""Debian 12, which has Python 3.11 like the default base of the Containerfile."""
PACKAGES = ("binutils", "ca-certificates", "conntrack", "nftables", "python3-venv")
_NAME = "the base of the image"
_MAX_AGE = 7 * 86400  # seconds
_CONTAINERFILE = "FROM scratch\nADD base.tar /\n"


def debian_base(cache: Path | None = None, builder: Builder | None = None) -> str:
    """Return the base in the form that FROM accepts, built now if it is not cached. Raise ToolError."""
    key = hashlib.sha256(repr((SUITE, PACKAGES, _CONTAINERFILE)).encode()).hexdigest()[:12]
    builder = builder or Builder()
    product = Product(
        name=_NAME,
        reason="the image takes Python, nft and conntrack from it",
        usual_duration="about 1 minute",
        path=f"image-base-{SUITE}-{key}/base.oci.tar",
        tools={"mmdebstrap": "apt-get install mmdebstrap", "buildah": "apt-get install buildah"},
        max_age=_MAX_AGE,
    )
    archive = builder.obtain(product, cache or cache_folder(), lambda draft: _make(draft, builder))
    return f"oci-archive:{archive}"


def _make(draft: Path, builder: Builder) -> Path:
    context = draft / "context"
    context.mkdir()
    included = f"--include={','.join(PACKAGES)}"
    command = ["mmdebstrap", "--variant=minbase", included, SUITE, str(context / "base.tar")]
    run(command, builder, what=_NAME, step="mmdebstrap")
    (context / "Containerfile").write_text(_CONTAINERFILE)
    build(builder, context / "Containerfile", draft / "base.oci.tar", what=_NAME)
    return draft / "base.oci.tar"
