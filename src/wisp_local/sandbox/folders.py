"""Where a user's files belong (XDG Base Directory Specification); makes none of them."""

from collections.abc import Mapping
from pathlib import Path


def state_folder(environ: Mapping[str, str], home: Path | None) -> Path | None:
    """Return the folder of what wisp keeps for the user whose `home` that is; None for a user without one."""
    base = Path(environ.get("XDG_STATE_HOME", ""))
    if base.is_absolute():  # others are invalid and to be ignored
        return base / "wisp"
    return None if home is None else home / ".local" / "state" / "wisp"
