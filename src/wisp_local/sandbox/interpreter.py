"""The Python interpreter and its packages, laid out where every user can read them, as in a container image."""

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
_READABLE, _ENTERABLE = 0o444, 0o555


@dataclass(frozen=True)
class Interpreter:
    """Where Python is: its home, executable and standard library, and the folders that it imports packages from."""

    home: Path
    executable: Path
    library: Path
    packages: tuple[Path, ...]


@dataclass(frozen=True)
class Image:
    """The path of an interpreter, and the environment variables that it needs to find its library and packages."""

    python: str
    environment: Mapping[str, str]


def this_interpreter() -> Interpreter:
    """Describe the running interpreter. Folders of the standard library are not packages."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    standard = {library, Path(sysconfig.get_path("platstdlib")).resolve(), library / "lib-dynload"}
    folders = [Path(entry).absolute() for entry in sys.path]
    if not sys.flags.safe_path and not _has_wisp(folders[0]):
        del folders[0]  # the current folder or the command's, whatever else they hold (sys.path in Python's library)
    packages = tuple(
        dict.fromkeys(folder for folder in folders if folder.is_dir() and folder.resolve() not in standard)
    )
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return Interpreter(Path(sys.base_prefix).resolve(), executable, library, packages)


def in_place(interpreter: Interpreter) -> Image:
    """Return an image that runs the interpreter where it is installed."""
    return Image(sys.executable, {"PYTHONPATH": _search_path(interpreter.packages)})


def lay_out(interpreter: Interpreter, root: Path, bind: Bind) -> Image:
    """Make the interpreter available in the new folder `root`, which everyone can read. Raise OSError or ToolError.

    Folders are mounted by `bind`. Those that only their owner can read (a umask of 077) are copied.
    """
    if not interpreter.executable.is_relative_to(interpreter.home):
        problem = f"{interpreter.executable} is not in {interpreter.home}"
        raise ToolError(problem, hint="use a Python installed in one folder")
    root.mkdir()
    home = root / "python"
    folders = (interpreter.home, interpreter.executable.parent, interpreter.library)
    (bind if all(map(is_open, folders)) else copy_open)(interpreter.home, home)
    packages: list[Path] = []
    for number, folder in enumerate(interpreter.packages):
        if folder.is_relative_to(interpreter.home):
            packages.append(home / folder.relative_to(interpreter.home))
        else:
            packages.append(root / f"packages{number}")
            (copy_open if _needs_copy(folder) else bind)(folder, packages[-1])
    libraries = {"LD_LIBRARY_PATH": str(home / "lib")} if sysconfig.get_config_var("Py_ENABLE_SHARED") else {}
    return Image(
        str(home / interpreter.executable.relative_to(interpreter.home)),
        {"PYTHONHOME": str(home), "PYTHONPATH": _search_path(packages), **libraries},
    )


def _has_wisp(folder: Path) -> bool:
    return (folder / "wisp" / "proxy").is_dir()


def _needs_copy(folder: Path) -> bool:
    # sys.path may name anything, such as a home folder: only folders of packages are copied
    return not is_open(folder) and (folder.name in _PACKAGE_FOLDERS or _has_wisp(folder))


def is_open(folder: Path) -> bool:
    """Tell whether every user can read `folder` and its entries: a umask closes all of them or none."""
    entries = (entry.stat() for entry in folder.iterdir() if entry.exists())  # a link may lead nowhere
    return _is_readable(folder.stat()) and all(map(_is_readable, entries))


def copy_open(folder: Path, target: Path) -> None:
    """Copy `folder` to the new folder `target`, readable by every user. Raise OSError."""
    shutil.copytree(folder, target, symlinks=True, copy_function=_copy_file_open)
    for path, _, _ in os.walk(target):
        Path(path).chmod(_ENTERABLE)


def _copy_file_open(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    executable = Path(source).stat().st_mode & stat.S_IXUSR
    Path(target).chmod(_ENTERABLE if executable else _READABLE)


def _is_readable(status: os.stat_result) -> bool:
    needed = _ENTERABLE if stat.S_ISDIR(status.st_mode) else _READABLE
    return status.st_mode & needed == needed


def _search_path(folders: Iterable[Path]) -> str:
    return os.pathsep.join(os.fspath(folder) for folder in folders)
