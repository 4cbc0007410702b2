"""The lab's own cluster: errors that are reported before anything is built."""

from pathlib import Path

import pytest

from tests.unit.wisp_local.lab.node.image_archives import NAME, oci_archive
from wisp.base.errors import PrivilegeError, SettingError, ToolError
from wisp_local.lab.node.node import ARCHITECTURE
from wisp_local.lab.own_cluster import OwnCluster
from wisp_local.lab.paths import LabPaths


@pytest.fixture(name="cache")
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache, and a PATH without any tool."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PATH", str(tmp_path))
    return cache


def test_machine_is_checked_before_a_build(tmp_path: Path, cache: Path) -> None:
    """A user who is not root, or lacks a tool, is told before Kubernetes is compiled for minutes."""
    archive = oci_archive(tmp_path / "wisp.tar", {NAME: "wisp:1"}, ARCHITECTURE)
    with pytest.raises((PrivilegeError, ToolError), match=r"needs root|there is no etcd on PATH"):
        OwnCluster(LabPaths(tmp_path / "lab")).prepare(archive, [])
    assert not cache.exists()


@pytest.mark.parametrize("load", [False, True], ids=["--image-archive", "--load"])
def test_images_are_checked_before_a_build(tmp_path: Path, cache: Path, *, load: bool) -> None:
    """Pods with an image for another architecture would fail to start, minutes later."""
    good = oci_archive(tmp_path / "good.tar", {NAME: "good:1"}, ARCHITECTURE)
    bad = oci_archive(tmp_path / "bad.tar", {NAME: "bad:1"}, "s390x")
    image, more = (good, [bad]) if load else (bad, [])
    with pytest.raises(SettingError, match=r"bad:1 in .* is for linux/s390x"):
        OwnCluster(LabPaths(tmp_path / "lab")).prepare(image, more)
    assert not cache.exists()
