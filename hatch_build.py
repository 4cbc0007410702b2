"""Writes the commit into what is built: an installed package has no repository to ask."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = "src/wisp"


class CommitHook(BuildHookInterface[Any]):
    """Put the commit in place of the placeholder; an editable package asks the repository itself."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to the wheel or the source distribution."""
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root, "src")))
        from wisp.base.version import COMMIT_FILE, commit_of  # noqa: PLC0415 -- it is not installed yet

        commit = commit_of(str(Path(self.root, _PACKAGE)))
        self._file = tempfile.NamedTemporaryFile("w", encoding="utf-8")  # noqa: SIM115 -- it is there until the build ends
        self._file.write(f"{commit}\n")
        self._file.flush()
        target = "wisp" if self.target_name == "wheel" else _PACKAGE
        build_data["force_include"][self._file.name] = f"{target}/{COMMIT_FILE}"
