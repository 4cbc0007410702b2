"""Requirements of tests that a machine may lack: programs, root, namespaces. A missing one skips the test.

Mark a test with `@pytest.mark.needs("nft", "ip")`, or call `need` in a fixture. At the end of a run, pytest prints one
line for each missing thing, with the command that provides it (tests/conftest.py).
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from _pytest.outcomes import Skipped  # pytest.skip.Exception, under the name that mypy can subclass

from tests.siege.cgroup import memory_hierarchy

ROOT = "root"
MEMORY_GROUPS = "permission to make memory cgroups"
NAMESPACES = "permission to make network namespaces"
INSTALL: Mapping[str, str] = {
    MEMORY_GROUPS: "run as root, where /sys/fs/cgroup can be written",
    ROOT: "run as root",
    NAMESPACES: "run as root, and in a container with CAP_SYS_ADMIN",
    "buildah": "apt-get install buildah",
    "chromium": "apt-get install chromium",
    "conntrack": "apt-get install conntrack",
    "crun": "apt-get install crun",
    "curl": "apt-get install curl",
    "fish": "apt-get install fish",
    "go": "apt-get install golang-go",
    "ip": "apt-get install iproute2",
    "iptables": "apt-get install iptables",
    "iptables-legacy": "apt-get install iptables",
    "iptables-nft": "apt-get install iptables",
    "java": "apt-get install openjdk-17-jdk-headless",
    "ldd": "apt-get install libc-bin",
    "mmdebstrap": "apt-get install mmdebstrap",
    "newuidmap": "apt-get install uidmap",
    "nft": "apt-get install nftables",
    "nsenter": "apt-get install util-linux",
    "ps": "apt-get install procps",
    "setpriv": "apt-get install util-linux",
    "unshare": "apt-get install util-linux",
    "wrk": "apt-get install wrk",
    "zsh": "apt-get install zsh",
}
"""Requirements that a machine with Python, git and make may lack, with the command that provides them."""


class Missing(NamedTuple):
    """Something that this machine lacks; `hint` is a command or an instruction."""

    name: str
    hint: str


class MissingSkip(Skipped):
    """Skips a test because of `missing`."""

    def __init__(self, *missing: Missing) -> None:
        super().__init__("; ".join(f"{thing.name} is missing ({thing.hint})" for thing in missing))
        self.missing = missing


def need(*names: str) -> None:
    """Skip the test unless this machine has all of `names`, which are keys of INSTALL: mostly programs on PATH."""
    missing = find_missing(*names)
    if missing:
        raise MissingSkip(*missing)


def find_missing(*names: str) -> list[Missing]:
    """Return those of `names` that this machine lacks."""
    return [Missing(name, INSTALL[name]) for name in names if not _is_here(name)]


def _is_here(name: str) -> bool:
    if name == ROOT:
        return os.geteuid() == 0
    if name == NAMESPACES:
        return os.geteuid() == 0 and _can_make_network_namespaces()
    if name == MEMORY_GROUPS:
        return _can_make_memory_groups()
    return shutil.which(name) is not None


@functools.cache
def _can_make_network_namespaces() -> bool:
    try:
        return subprocess.run(["unshare", "--net", "true"], check=False).returncode == 0
    except FileNotFoundError:
        return True  # then `unshare` is what is missing


@functools.cache
def _can_make_memory_groups() -> bool:
    hierarchy = memory_hierarchy()
    return os.geteuid() == 0 and hierarchy is not None and os.access(hierarchy, os.W_OK)
