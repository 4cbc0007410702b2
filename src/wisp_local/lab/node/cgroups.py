"""The control group that a node's pods are in: made before the node, gone after it. Both versions of cgroups(7)."""

import contextlib
import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def hierarchies(root: Path = _ROOT) -> list[Path]:
    """Return the roots of every hierarchy: one of version 2, or one a controller of version 1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted(each for each in root.iterdir() if each.is_dir() and not each.is_symlink() and each.name != "unified")


def make(name: str, root: Path = _ROOT) -> None:
    """Make the group in every hierarchy; raises OSError."""
    for each in hierarchies(root):
        (each / name).mkdir(exist_ok=True)
        inherit_cpuset(each, each / name)


def inherit_cpuset(parent: Path, group: Path) -> None:
    """Give the group its parent's processors: in version 1 it has none at first, and takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (parent / name).exists() and not (parent / "cgroup.controllers").exists():
            (group / name).write_text((parent / name).read_text(encoding="ascii"), encoding="ascii")


def remove(name: str, root: Path = _ROOT) -> None:
    """Remove the group and all below it from every hierarchy; what still has processes stays."""
    for each in hierarchies(root):
        for folder, _, _ in os.walk(each / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
