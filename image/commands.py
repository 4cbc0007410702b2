"""Runs the programs that the build is made of; what one says is kept for when it fails."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from wisp.errors import ToolError

_TIMEOUT = 1800  # seconds; a cold mirror is slow
_PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run `command` to its end. Raise ToolError with the last lines that it said, or with what is missing."""
    name = command[0]
    if shutil.which(name) is None:
        package = _PACKAGES.get(name, name)
        raise ToolError(f"the image cannot be built: there is no {name} on PATH", remedy=f"apt-get install {package}")
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{name} took longer than {_TIMEOUT} s", remedy="see whether its mirror answers") from None
    if done.returncode != 0:
        said = "\n".join(done.stdout.splitlines()[-20:])
        raise ToolError(f"{name} failed ({' '.join(command)}):\n{said}", remedy="see above")
