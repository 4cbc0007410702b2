"""Builds what takes long, by the tools of others: what one says is kept for when it fails."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from wisp.errors import ToolError

_TIMEOUT = 3600  # seconds; a cold package registry is slow
_SHOWN = 20  # lines of what a tool said


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where what takes long to make is kept (XDG Base Directory Specification)."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wisp"


def must_have(tool: str, what: str, remedy: str) -> None:
    """Raise ToolError when there is no `tool` to build `what` with."""
    if shutil.which(tool) is None:
        raise ToolError(f"{what} cannot be built: there is no {tool} on PATH", remedy=remedy)


def build(
    what: str, command: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Run `command` to its end in `folder`, with more `environment`; `what` is built by it, as messages call it.

    Raises ToolError with the last lines that it said.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        problem = f"building {what} took longer than {_TIMEOUT} s ({' '.join(command[:3])})"
        raise ToolError(problem, remedy="see whether its package registry answers") from None
    except OSError as error:
        problem = f"{command[0]}, which builds {what}, cannot be started ({error.strerror})"
        raise ToolError(problem, remedy="install it anew") from error
    if done.returncode != 0:
        said = "\n".join(done.stdout.splitlines()[-_SHOWN:])
        raise ToolError(f"building {what} failed ({' '.join(command)}):\n{said}", remedy="see above")
