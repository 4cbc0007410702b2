"""A root file system with selected files of the running one, the links to them and the libraries that they load."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

Keep = Callable[[Path], bool]
_ELF = b"\x7fELF"


class RootFs:
    """The new root in `target`. All paths are those of the running system, and the same in the new root."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.taken: set[Path] = set()
        """Real paths of the copied files."""

    def inside(self, path: Path) -> Path:
        """Return the current location of a path of the new root."""
        return self._target / path.relative_to("/")

    def take(self, path: Path) -> None:
        """Copy a file with its links and libraries. Raise OSError."""
        real = self._follow(path)
        if real in self.taken:
            return
        self.taken.add(real)
        self._folder(real.parent)
        shutil.copyfile(real, self.inside(real))
        runs = os.access(real, os.X_OK)
        self.inside(real).chmod(0o755 if runs else 0o644)  # no set-user-id bit
        for library in _libraries(real):
            self.take(library)

    def take_tree(self, folder: Path, keep: Keep = lambda _: True) -> None:
        """Copy the content of `folder`, except folders and files that `keep` rejects. Raise OSError."""
        for path in sorted(folder.iterdir()):
            if not keep(path):
                continue
            if path.is_dir():
                self.take_tree(path, keep)
            elif path.exists():  # a link may lead nowhere
                self.take(path)

    def write(self, path: Path, text: str, mode: int = 0o644) -> None:
        """Write a file that the running system does not have, or has with other content."""
        self._folder(path.parent)
        self.inside(path).write_text(text)
        self.inside(path).chmod(mode)

    def make_folder(self, path: Path, mode: int = 0o755) -> None:
        """Make an empty folder."""
        self._folder(path)
        self.inside(path).chmod(mode)

    def link(self, path: Path, to: str) -> None:
        """Make a symbolic link."""
        self._folder(path.parent)
        if not self.inside(path).is_symlink():
            self.inside(path).symlink_to(to)

    def _follow(self, path: Path) -> Path:
        """Copy the links in `path`; return the path without links."""
        here = Path("/")
        for part in path.parts[1:]:
            here /= part
            if here.is_symlink():
                to = here.readlink()
                self.link(here, str(to))
                here = self._follow(Path(os.path.normpath(here.parent / to)))
        return here

    def _folder(self, folder: Path) -> None:
        self.inside(self._follow(folder)).mkdir(parents=True, exist_ok=True)


def _libraries(path: Path) -> list[Path]:
    """Return the shared libraries that the loader finds for a program or library; [] for other files."""
    with path.open("rb") as file:
        if file.read(4) != _ELF:
            return []
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    if "not found" in listed.stdout:
        raise FileNotFoundError(f"{path} needs a library that is not installed:\n{listed.stdout}")
    words = (word for line in listed.stdout.splitlines() for word in line.split())
    return [Path(word) for word in words if word.startswith("/") and not word.endswith(":")]
