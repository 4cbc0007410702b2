"""The user's folders (XDG Base Directory Specification), and temporary folders whose result is moved into place."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from wisp_local.sandbox.signals import deferred


def home_folder() -> Path | None:
    """Return the user's home; None if neither HOME nor the system's list of users has one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def state_folder(environ: Mapping[str, str], home: Path | None) -> Path | None:
    """Return the folder for the state of the user with that `home`; None for a user without a home."""
    base = Path(environ.get("XDG_STATE_HOME", ""))
    if base.is_absolute():  # the specification says to ignore others
        return base / "wisp"
    return None if home is None else home / ".local" / "state" / "wisp"


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for results of builds."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wisp"


@contextlib.contextmanager
def draft_folder(parent: Path, prefix: str = "wisp-build-") -> Iterator[Path]:
    """Give a folder in `parent`, removed with all its content when the block is left, however that happens."""
    parent.mkdir(parents=True, exist_ok=True)
    draft = None
    try:
        with deferred():
            draft = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
        yield Path(draft.name)
    finally:
        if draft is not None:
            with deferred():
                draft.cleanup()


def move_into_place(made: Path, target: Path) -> None:
    """Rename the file or folder `made` to `target`, on the same file system. A folder that is there already stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.replace(target)
    except OSError:  # another run was faster, and has built the same
        if not target.is_dir():
            raise
