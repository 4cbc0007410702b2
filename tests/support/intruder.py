"""Code that nobody asked for, in a folder that Python may be told to import from."""

from pathlib import Path

_RECORD = """
import os
with open(os.path.join(os.path.dirname(__file__), f"ran-{os.getpid()}"), "a") as file:
    file.write(__name__)
raise ImportError
"""
MODULES = ("sitecustomize", "usercustomize", "json", "ssl", "brotli", "h2", "_cffi_backend")
"""Modules that Python loads at its start, of the standard library, and that dependencies load where they are there."""


class Intruder:
    """A folder with a module of each name, which notes the process that runs it and fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in MODULES:
            (folder / f"{name}.py").write_text(_RECORD)

    def processes(self) -> set[int]:
        """Return the ids of the processes that ran a module of it."""
        return {int(file.name.removeprefix("ran-")) for file in self.folder.glob("ran-*")}
