"""Runs the programs that the image is built by."""

from collections.abc import Mapping, Sequence

from wisp.lab.building import build, must_have

_PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run `command` to its end. Raise ToolError with the last lines that it said, or with what is missing."""
    must_have(command[0], "the image", f"apt-get install {_PACKAGES.get(command[0], command[0])}")
    build("the image", command, environment=environment)
