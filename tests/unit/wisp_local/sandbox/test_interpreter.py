"""The interpreter is laid out so that every user can run it."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest

import wisp
from wisp.base.errors import ToolError
from wisp_local.sandbox.interpreter import Interpreter, in_place, is_open, lay_out, this_interpreter


class Binder:
    """Binds nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.bound: list[tuple[Path, Path]] = []

    def __call__(self, source: Path, target: Path) -> None:
        """Remember."""
        self.bound.append((source, target))


@pytest.fixture(name="interpreter")
def _interpreter(tmp_path: Path) -> Interpreter:
    """Install something like a Python below a home."""
    home = tmp_path / "python"
    for folder in ("bin", "lib/python3.99/site-packages"):
        (home / folder).mkdir(parents=True)
    packages = tmp_path / "venv/lib/site-packages"
    (packages / "click").mkdir(parents=True)
    (packages / "click/__init__.py").touch()
    (packages / "run").touch(0o755)
    executable = home / "bin/python3.99"
    executable.touch(0o755)
    return Interpreter(home, executable, home / "lib/python3.99", (packages, home / "lib/python3.99/site-packages"))


def close(folder: Path) -> None:
    """Do to a folder what a umask of 077 does."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)


def test_folders_are_mounted_and_search_paths_adapted(interpreter: Interpreter, tmp_path: Path) -> None:
    binder, root = Binder(), tmp_path / "image"
    image = lay_out(interpreter, root, binder)
    assert binder.bound == [(interpreter.home, root / "python"), (interpreter.packages[0], root / "packages0")]
    assert image.python == str(root / "python/bin/python3.99")
    assert image.environment["PYTHONHOME"] == str(root / "python")
    assert image.environment["PYTHONPATH"] == f"{root}/packages0:{root}/python/lib/python3.99/site-packages"


def test_packages_that_only_their_owner_can_read_are_copied(interpreter: Interpreter, tmp_path: Path) -> None:
    close(interpreter.packages[0])
    binder, root = Binder(), tmp_path / "image"
    lay_out(interpreter, root, binder)
    assert [source for source, _ in binder.bound] == [interpreter.home]
    modes = {str(path.relative_to(root)): path.stat().st_mode & 0o777 for path in root.rglob("*")}
    assert modes == {
        "packages0": 0o555,
        "packages0/click": 0o555,
        "packages0/click/__init__.py": 0o444,
        "packages0/run": 0o555,
    }


def test_interpreter_that_only_its_owner_can_read_is_copied(interpreter: Interpreter, tmp_path: Path) -> None:
    interpreter.library.chmod(0o700)
    binder, root = Binder(), tmp_path / "image"
    image = lay_out(interpreter, root, binder)
    assert [source for source, _ in binder.bound] == [interpreter.packages[0]]
    assert is_open(root / "python/lib/python3.99")
    assert os.access(image.python, os.X_OK)


def test_folder_that_does_not_hold_packages_is_not_copied(interpreter: Interpreter, tmp_path: Path) -> None:
    anything = tmp_path / "anything"
    anything.mkdir(mode=0o700)
    binder = Binder()
    lay_out(dataclasses.replace(interpreter, packages=(anything,)), tmp_path / "image", binder)
    assert binder.bound[-1] == (anything, tmp_path / "image/packages0")


def test_executable_outside_the_home_of_python_is_rejected(interpreter: Interpreter, tmp_path: Path) -> None:
    odd = Interpreter(interpreter.library, interpreter.executable, interpreter.library, ())
    with pytest.raises(ToolError, match="is not in"):
        lay_out(odd, tmp_path / "image", Binder())


def test_this_interpreter_has_wisp_among_its_packages() -> None:
    found = this_interpreter()
    assert Path(wisp.__file__).parents[1] in found.packages
    assert Path(os.__file__).parent.resolve() not in {path.resolve() for path in found.packages}
    assert found.executable.is_relative_to(found.home)


@pytest.mark.parametrize("first", ["", "/"], ids=["current-folder", "root"])
def test_implicit_first_folder_of_the_search_path_is_left_out(
    first: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`python -m wisp` puts the current folder first, which may be /."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [first, *sys.path])
    assert {Path("/"), tmp_path}.isdisjoint(this_interpreter().packages)


def test_interpreter_in_place_needs_only_the_search_path() -> None:
    image = in_place(this_interpreter())
    assert image.python == sys.executable
    assert set(image.environment) == {"PYTHONPATH"}
