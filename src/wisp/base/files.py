"""Writes files that other processes may be reading."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes | str, *, mode: int = 0o600) -> None:
    """Write `data` (text as UTF-8) to `path`, replacing a file that is there already. Raise OSError.

    Readers see the old content or the new, never a part of it, even after a power failure. A temporary file in the same
    folder is renamed to `path`; it is removed when writing fails.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
