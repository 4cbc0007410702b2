"""A node's control groups, in a folder that looks like either version of cgroups(7)."""

from pathlib import Path

import pytest

from wisp_local.lab.node.node import cgroup_hierarchies, make_cgroup, remove_cgroup


@pytest.fixture(name="version_1")
def _version_1(tmp_path: Path) -> Path:
    """Make a hierarchy per controller of version 1, and the one of version 2 next to them."""
    for name in ("cpuset", "memory", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpu").symlink_to("cpuset")
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n", encoding="ascii")
    return tmp_path


def test_group_is_made_in_every_hierarchy_of_version_1(version_1: Path) -> None:
    """Links and version 2 are left out; the new group may use every processor."""
    assert [path.name for path in cgroup_hierarchies(version_1)] == ["cpuset", "memory"]
    make_cgroup("wisp-node0", version_1)
    assert (version_1 / "cpuset" / "wisp-node0" / "cpuset.cpus").read_text(encoding="ascii") == "0-1\n"
    assert (version_1 / "memory" / "wisp-node0").is_dir()
    assert not (version_1 / "unified" / "wisp-node0").exists()


def test_group_is_made_in_the_one_hierarchy_of_version_2(tmp_path: Path) -> None:
    """Its root lists the controllers."""
    (tmp_path / "cgroup.controllers").write_text("memory\n", encoding="ascii")
    make_cgroup("wisp-node0", tmp_path)
    assert (tmp_path / "wisp-node0").is_dir()


def test_group_is_removed_with_all_groups_below(version_1: Path) -> None:
    """Inner ones first. The second removal finds nothing to do."""
    (version_1 / "memory" / "wisp-node0" / "kubepods" / "pod1").mkdir(parents=True)
    remove_cgroup("wisp-node0", version_1)
    remove_cgroup("wisp-node0", version_1)
    assert not (version_1 / "memory" / "wisp-node0").exists()
