"""Builds Go programs, reporting how many packages are compiled."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from wisp_local.sandbox.building import Builder

_DOWNLOADING = "go: downloading "
_IMPORT_PATH = re.compile(r"[\w.~/+-]+")


class Listing:
    """A meter for `go list -deps`, which downloads modules and prints one package a line."""

    def __init__(self) -> None:
        self.packages = 0
        self._modules = 0

    def read(self, line: str) -> bool:
        """Count modules and packages."""
        if line.startswith(_DOWNLOADING):
            self._modules += 1
            return False
        if _IMPORT_PATH.fullmatch(line):
            self.packages += 1
            return False
        return True

    def state(self, elapsed: str) -> str:
        """Return what go is doing, and the number of modules that it had to download."""
        if self._modules:
            return f"downloading modules, {self._modules:,} so far, {elapsed}"
        return f"listing packages, {elapsed}"


class Compilation:
    """A meter for `go build -v`, which prints the import path of each package that is not in Go's build cache."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._compiled = 0

    def read(self, line: str) -> bool:
        """Count packages."""
        if _IMPORT_PATH.fullmatch(line):
            self._compiled += 1
            return False
        return not line.startswith(_DOWNLOADING)

    def state(self, elapsed: str) -> str:
        """Return the number of packages compiled. The total is a maximum: Go does not print what it has cached."""
        return f"{self._compiled:,} of at most {self._total:,} packages compiled, {elapsed}"


def go_build(
    builder: Builder, what: str, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]
) -> None:
    """Run `command`, `go build ... -o OUTPUT PACKAGE...` with any prefix, in the module's `folder`. Raise ToolError.

    It downloads modules first and counts the packages, so that progress has a total.
    """
    build, output = command.index("build"), command.index("-o")
    packages = command[output + 2 :]
    listing = Listing()
    list_command = [*command[:build], "list", "-deps", "-mod=readonly", *packages]
    builder.run(what, list_command, folder=folder, environment=environment, meter=listing)
    verbose = [*command[: build + 1], "-v", *command[build + 1 :]]
    builder.run(what, verbose, folder=folder, environment=environment, meter=Compilation(listing.packages))
