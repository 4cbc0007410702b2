"""The interpreter and its packages, laid out where every user can read them, as a container image would have them."""

import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wisp.base.errors import ToolError

Bind = Callable[[Path, Path], None]
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_ALL_READ, _ALL_ENTER = 0o444, 0o555


@dataclass(frozen=True)
class Interpreter:
    """Where Python is: its home, its executable and standard library there, and the folders it imports from."""

    home: Path
    executable: Path
    library: Path
    packages: tuple[Path, ...]


@dataclass(frozen=True)
class Image:
    """An interpreter to run, and what its environment has to say for it to find itself."""

    python: str
    environment: Mapping[str, str]


def this_interpreter() -> Interpreter:
    """Describe the interpreter that runs this; the standard library's own folders are no packages."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    own = {library, Path(sysconfig.get_path("platstdlib")).resolve(), library / "lib-dynload"}
    folders = [Path(each).absolute() for each in sys.path]
    if not sys.flags.safe_path and not _has_wisp(folders[0]):
        del folders[0]  # the current folder or the command's, whatever else they hold (sys.path in Python's library)
    packages = tuple(dict.fromkeys(each for each in folders if each.is_dir() and each.resolve() not in own))
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return Interpreter(Path(sys.base_prefix).resolve(), executable, library, packages)


def in_place(interpreter: Interpreter) -> Image:
    """Run the interpreter where it is."""
    return Image(sys.executable, {"PYTHONPATH": _path(interpreter.packages)})


def lay_out(interpreter: Interpreter, root: Path, bind: Bind) -> Image:
    """Show the interpreter in the new folder `root`, which everyone may read; raises OSError or ToolError.

    Folders are shown by `bind`; those closed to others than their owner (made with a umask of 077) are copied.
    """
    if not interpreter.executable.is_relative_to(interpreter.home):
        problem = f"{interpreter.executable} is not in {interpreter.home}"
        raise ToolError(problem, hint="use a Python installed in one folder")
    root.mkdir()
    home = root / "python"
    parts = (interpreter.home, interpreter.executable.parent, interpreter.library)
    (bind if all(map(is_open, parts)) else copy_open)(interpreter.home, home)
    packages: list[Path] = []
    for number, folder in enumerate(interpreter.packages):
        if folder.is_relative_to(interpreter.home):
            packages.append(home / folder.relative_to(interpreter.home))
        else:
            packages.append(root / f"packages{number}")
            (copy_open if _wants_copy(folder) else bind)(folder, packages[-1])
    libraries = {"LD_LIBRARY_PATH": str(home / "lib")} if sysconfig.get_config_var("Py_ENABLE_SHARED") else {}
    return Image(
        str(home / interpreter.executable.relative_to(interpreter.home)),
        {"PYTHONHOME": str(home), "PYTHONPATH": _path(packages), **libraries},
    )


def _has_wisp(folder: Path) -> bool:
    return (folder / "wisp" / "lab").is_dir()


def _wants_copy(folder: Path) -> bool:
    """Tell whether `folder` is closed and one that holds packages and no more; sys.path may name anything."""
    return not is_open(folder) and (folder.name in _PACKAGE_FOLDERS or _has_wisp(folder))


def is_open(folder: Path) -> bool:
    """Tell whether every user may read `folder` and what is directly in it: a umask closes all of it or nothing."""
    inside = (each.stat() for each in folder.iterdir() if each.exists())  # a link may lead nowhere
    return _lets_all(folder.stat()) and all(map(_lets_all, inside))


def copy_open(folder: Path, target: Path) -> None:
    """Copy `folder` to the new folder `target`, readable to every user; raises OSError."""
    shutil.copytree(folder, target, symlinks=True, copy_function=_copy_open)
    for made, _, _ in os.walk(target):
        Path(made).chmod(_ALL_ENTER)


def _copy_open(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    runs = Path(source).stat().st_mode & stat.S_IXUSR
    Path(target).chmod(_ALL_ENTER if runs else _ALL_READ)


def _lets_all(found: os.stat_result) -> bool:
    wanted = _ALL_ENTER if stat.S_ISDIR(found.st_mode) else _ALL_READ
    return found.st_mode & wanted == wanted


def _path(folders: Iterable[Path]) -> str:
    return os.pathsep.join(os.fspath(each) for each in folders)
