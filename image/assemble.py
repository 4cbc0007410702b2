"""Lays out the image's root: `python3 -m image.assemble TARGET`, inside the build.

It contains only what the three programs load: an interpreter, the parts of its library that a server can use, our
packages, nft and conntrack with their libraries, and the CAs that TLS trusts. No shell, no package manager.
"""

import compileall
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from image.debian import Packages
from image.rootfs import RootFs

UID = 1501
"""The user of the sidecar, whose traffic is not redirected."""

_PROGRAMS = ("nft", "conntrack")
_UNUSED = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "sitecustomize.py",
        "test",
        "tests",
        "tkinter",
        "turtle.py",
        "turtledemo",
        "venv",
    }
)
"""Parts of the standard library for development, graphics and installation."""
_EXCLUDED_PACKAGES = frozenset({"bin", "__pycache__", "wisp_local"})
_UNUSED_EXTENSIONS = ("_tkinter", "readline", "_curses", "_sqlite3", "_dbm", "_gdbm", "_test", "_ctypes_test", "nis")
"""Extension modules for terminals and databases, which load more libraries (`_curses` matches `_curses_panel`)."""
_ACCOUNTS = ((0, "root"), (UID, "wisp"), (65534, "nobody"))
_SCRIPT = """\
#!{python} -IS
import sys

sys.path.append({packages!r})
from {module} import main

sys.exit(main({arguments}))
"""


def assemble(target: Path) -> None:
    """Lay out the root in `target`. Raise OSError, or CalledProcessError where the loader's cache cannot be made."""
    root = RootFs(target)
    _take_python(root)
    _take_programs(root)
    _take_trust(root)
    _write_entry_points(root)
    _write_accounts(root)
    _compile(root)
    _record_packages(root)
    subprocess.run(["ldconfig", "-r", target, "-X"], check=True)


def _take_python(root: RootFs) -> None:
    root.take(_interpreter())
    root.take_tree(Path(sysconfig.get_path("stdlib")), _is_used)
    root.take_tree(Path(sysconfig.get_path("purelib")), lambda path: path.name not in _EXCLUDED_PACKAGES)


def _interpreter() -> Path:
    return Path(sys.executable).resolve()


def _is_used(path: Path) -> bool:
    if path.name in _UNUSED or path.name.startswith("config-"):
        return False
    return not path.name.startswith(_UNUSED_EXTENSIONS) or path.suffix == ".py"


def _take_programs(root: RootFs) -> None:
    for name in _PROGRAMS:
        found = shutil.which(name)
        if found is None:
            raise FileNotFoundError(f"the base image has no {name}")
        root.take(Path(found))


def _take_trust(root: RootFs) -> None:
    for folder in ("/usr/lib/ssl", "/etc/ssl"):
        root.take_tree(Path(folder), lambda path: path.name not in {"misc", "private"})
    for file in ("/etc/os-release", "/etc/ld.so.conf"):
        root.take(Path(file))
    root.take_tree(Path("/etc/ld.so.conf.d"))


def _write_entry_points(root: RootFs) -> None:
    """Write the programs as scripts.

    -I: no variable and no working directory can add code. -S: the path of packages is known, and searching takes 2 ms.
    """
    known = {"python": _interpreter(), "packages": sysconfig.get_path("purelib")}
    proxy = _SCRIPT.format(**known, module="wisp.proxy.__main__", arguments="sys.argv[1:]")
    root.write(Path("/proxy"), proxy, 0o755)
    root.write(Path("/wisp"), _SCRIPT.format(**known, module="wisp.__main__", arguments=""), 0o755)


def _write_accounts(root: RootFs) -> None:
    lines = [f"{name}:x:{number}:{number}:{name}:/:/nonexistent\n" for number, name in _ACCOUNTS]
    root.write(Path("/etc/passwd"), "".join(lines))
    root.write(Path("/etc/group"), "".join(f"{name}:x:{number}:\n" for number, name in _ACCOUNTS))
    root.write(Path("/etc/nsswitch.conf"), "hosts: files dns\n")
    for folder in (
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/var",
    ):  # mount points of runtimes, which a read-only root must contain
        root.make_folder(Path(folder))
    root.make_folder(Path("/tmp"), 0o1777)  # noqa: S108 -- the image's own
    root.link(Path("/var/run"), "/run")


def _compile(root: RootFs) -> None:
    """Compile all byte code. It is not checked against its source: neither changes in an image."""
    for name in ("stdlib", "purelib"):
        folder = Path(sysconfig.get_path(name))
        done = compileall.compile_dir(
            root.inside(folder),
            maxlevels=20,
            stripdir=root.inside(Path("/")),
            prependdir="/",
            quiet=1,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        if not done:
            raise OSError(f"{folder} cannot be compiled")


def _record_packages(root: RootFs) -> None:
    """Record the Debian packages of the files where scanners expect it in images without a package manager."""
    packages = Packages()
    for name, stanza in packages.owning(root.taken).items():
        root.write(Path("/var/lib/dpkg/status.d", name), stanza + "\n")
        licences = packages.copyright_of(name)
        if licences is not None:
            root.write(Path("/usr/share/doc", name, "copyright"), licences.read_text(encoding="utf-8"))


def main(arguments: Sequence[str]) -> int:
    """Lay out the root in the folder that is the only argument."""
    (target,) = arguments
    assemble(Path(target))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
