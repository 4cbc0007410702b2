"""Debian's database of installed packages: which package owns a file, and its description."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path


class Packages:
    """The packages installed on the running system."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        status = (root / "var/lib/dpkg/status").read_text(encoding="utf-8")
        self._stanzas = {_field(stanza, "Package"): stanza for stanza in status.split("\n\n") if stanza.strip()}
        self._owners = self._read_owners()

    def owning(self, files: Iterable[Path]) -> Mapping[str, str]:
        """Return the packages that own any of the files: name and control stanza."""
        names = {self._owners[file] for file in files if file in self._owners}
        return {name: self._stanzas[name] for name in sorted(names)}

    def copyright_of(self, name: str) -> Path | None:
        """Return the copyright file of a package."""
        path = self._root / "usr/share/doc" / name / "copyright"
        return path if path.exists() else None

    def _read_owners(self) -> Mapping[Path, str]:
        owners: dict[Path, str] = {}
        folders: dict[str, str] = {}  # /lib is a link to /usr/lib, and packages use both
        for listing in (self._root / "var/lib/dpkg/info").glob("*.list"):
            name = listing.stem.partition(":")[0]
            for line in listing.read_text(encoding="utf-8").splitlines():
                folder, _, file = line.rpartition("/")
                if folder not in folders:
                    folders[folder] = os.path.realpath(folder)
                owners[Path(folders[folder], file)] = name
        return owners


def _field(stanza: str, name: str) -> str:
    lines = (line for line in stanza.splitlines() if line.startswith(f"{name}: "))
    return next(lines, "").partition(": ")[2]
