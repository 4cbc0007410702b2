"""Builds the image and its bill of materials."""

import subprocess
from pathlib import Path

from image import archive, sbom, storage, wheels
from image.base import debian_base
from image.commands import IMAGE
from wisp import __version__
from wisp.base.version import commit_of
from wisp_local.sandbox.builds import Builder
from wisp_local.sandbox.folders import draft_folder, move_into_place

SOURCE = Path(__file__).parent.parent
DEBIAN = "debian"
"""The base that is built here, from Debian packages."""
_ANNOUNCEMENT = """\
Building the image {name} ...
  needed for  pods: the sidecar, the redirect and the webhook run from it
  duration    about 1 minute on 2 cores, about 2 minutes if the base is not cached
  output      {output}, and its bill of materials next to it"""


def build(name: str, output: Path, base: str = DEBIAN, source: Path = SOURCE, builder: Builder | None = None) -> Path:
    """Build the OCI archive `output` and `<output>.cdx.json` next to it; return the archive. Raise ToolError.

    `base` is anything that FROM accepts, or `debian`. Both files appear complete or not at all.
    """
    builder = builder or Builder()
    progress = builder.progress
    progress.line(_ANNOUNCEMENT.format(name=name, output=output))
    with progress.operation(IMAGE), draft_folder(output.parent, f".{output.name}-") as draft:
        progress.line(f"1/4 base: {'made of Debian packages, cached for a week' if base == DEBIAN else base}")
        found = debian_base(builder=builder) if base == DEBIAN else base
        progress.line("2/4 wheels: those that requirements/image.txt locks, and our own, in build/wheels")
        wheels.fetch(source, source / "build/wheels", builder=builder)
        progress.line("3/4 image: buildah runs the Containerfile")
        options = ["--build-arg", f"BASE={found}", "--timestamp", str(_committed(source)), *_labels(source)]
        made = draft / "image.tar"
        storage.build(builder, source / "Containerfile", made, options=options)
        archive.set_name(made, name)
        progress.line("4/4 bill of materials: read from the image")
        listing = draft / "bill.json"
        listing.write_text(sbom.describe(made, name, source / "build/wheels"))
        move_into_place(listing, sbom.path_for(output))
        move_into_place(made, output)
        progress.line(f"Built {name} in {progress.elapsed(IMAGE)}.")
    return output


def _labels(source: Path) -> list[str]:
    """Return the options for the labels that say what the image was built of (OCI image spec, annotations)."""
    labels = {"version": __version__, "revision": commit_of(str(source.resolve() / "src/wisp"))}
    return [f"--label=org.opencontainers.image.{name}={value}" for name, value in labels.items()]


def _committed(source: Path) -> int:
    """Return when the source was committed, for every file's time: the same source gives the same image."""
    asked = subprocess.run(
        ["git", "-C", source, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    return int(asked.stdout) if asked.returncode == 0 else 0
