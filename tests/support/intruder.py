"""Modules of an attacker, in a folder from which Python may be made to import."""

from pathlib import Path

_RECORD = """
import os
with open(os.path.join(os.path.dirname(__file__), f"ran-{os.getpid()}"), "a") as file:
    file.write(__name__)
raise ImportError
"""
MODULES = ("sitecustomize", "usercustomize", "json", "ssl", "brotli", "h2", "_cffi_backend")
"""Modules that Python loads at start, modules of the standard library, and optional modules of dependencies."""


class Intruder:
    """A folder with modules that record the process that imports them, and fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in MODULES:
            (folder / f"{name}.py").write_text(_RECORD)

    def processes(self) -> set[int]:
        """Return the ids of the processes that imported one of the modules."""
        return {int(file.name.removeprefix("ran-")) for file in self.folder.glob("ran-*")}
