"""Runs the programs that build the image."""

from collections.abc import Sequence

from wisp_local.sandbox.builds import Builder, LastLine, must_have

IMAGE = "the image"
"""What messages call the image as a whole."""
_PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}


def run(command: Sequence[str], builder: Builder, *, what: str = IMAGE, step: str = "") -> None:
    """Run `command`, a step in building `what`. Raise ToolError with the last lines of its output, or if it is missing.

    `step` is shown with the progress.
    """
    must_have(command[0], what, f"apt-get install {_PACKAGES.get(command[0], command[0])}")
    builder.run(what, command, meter=LastLine(step))
