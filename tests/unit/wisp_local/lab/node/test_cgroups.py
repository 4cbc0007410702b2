"""Control groups in a folder that looks like either version's."""

from pathlib import Path

import pytest

from wisp_local.lab.node.cgroups import hierarchies, make, remove


@pytest.fixture(name="first")
def _first(tmp_path: Path) -> Path:
    """Version 1: a hierarchy a controller, and the second version beside them."""
    for name in ("cpuset", "memory", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpu").symlink_to("cpuset")
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n", encoding="ascii")
    return tmp_path


def test_version_1(first: Path) -> None:
    """Every controller's, links and the second version left out; the new group may use every processor."""
    assert [each.name for each in hierarchies(first)] == ["cpuset", "memory"]
    make("wisp-node0", first)
    assert (first / "cpuset" / "wisp-node0" / "cpuset.cpus").read_text(encoding="ascii") == "0-1\n"
    assert (first / "memory" / "wisp-node0").is_dir()
    assert not (first / "unified" / "wisp-node0").exists()


def test_version_2(tmp_path: Path) -> None:
    """There is one."""
    (tmp_path / "cgroup.controllers").write_text("memory\n", encoding="ascii")
    make("wisp-node0", tmp_path)
    assert (tmp_path / "wisp-node0").is_dir()


def test_removed_with_all_below(first: Path) -> None:
    """Inner ones first; a second time there is nothing to do."""
    (first / "memory" / "wisp-node0" / "kubepods" / "pod1").mkdir(parents=True)
    remove("wisp-node0", first)
    remove("wisp-node0", first)
    assert not (first / "memory" / "wisp-node0").exists()
