"""How files get into the new root."""

import shutil
from pathlib import Path

import pytest

from image.debian import Packages
from image.rootfs import RootFs


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> RootFs:
    (tmp_path / "root").mkdir()
    return RootFs(tmp_path / "root")


def test_links(tmp_path: Path, root: RootFs) -> None:
    """A file is taken with every link that leads to it, relative or not, and what they point at."""
    there = tmp_path / "there"
    (there / "real").mkdir(parents=True)
    (there / "real/file").write_text("text")
    (there / "folder").symlink_to("real")
    (there / "absolute").symlink_to(there / "folder/file")
    root.take(there / "absolute")
    assert root.inside(there / "absolute").readlink() == there / "folder/file"
    assert root.inside(there / "folder").readlink() == Path("real")
    assert root.inside(there / "real/file").read_text() == "text"
    assert root.taken == {there / "real/file"}


def test_modes(tmp_path: Path, root: RootFs) -> None:
    """What runs may be run by all, the rest read by all; nobody becomes root by it."""
    for name, mode in (("program", 0o4700), ("data", 0o600)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
        root.take(tmp_path / name)
    assert root.inside(tmp_path / "program").stat().st_mode & 0o7777 == 0o755
    assert root.inside(tmp_path / "data").stat().st_mode & 0o7777 == 0o644


def test_trees(tmp_path: Path, root: RootFs) -> None:
    """A folder is taken but for what is refused; a link that leads nowhere is left."""
    there = tmp_path / "there"
    for name in ("kept/a", "kept/b", "left/c"):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text("")
    (there / "broken").symlink_to("nowhere")
    root.take_tree(there, lambda path: path.name not in {"left", "b"})
    assert root.taken == {there / "kept/a"}


@pytest.mark.needs("ldd")
def test_libraries(root: RootFs) -> None:
    """A program comes with what it is linked with, the loader included."""
    root.take(Path(shutil.which("ls") or "/bin/ls"))
    names = {path.name.split(".so")[0].rstrip("0123456789.-") for path in root.taken}
    assert "libc" in names
    assert any(name.startswith("ld") for name in names)


def test_owners(tmp_path: Path) -> None:
    """A file is of the package that lists it, and the package is described as dpkg describes it."""
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "libx:amd64.list").write_text("/.\n/opt\n/opt/libx.so\n")
    (info / "y.list").write_text("/opt/y\n")
    (tmp_path / "var/lib/dpkg/status").write_text("Package: libx\nVersion: 1\n\nPackage: y\nVersion: 2\n")
    packages = Packages(tmp_path)
    found = packages.owning([Path("/opt/libx.so"), Path("/opt/unknown")])
    assert {name: stanza.strip() for name, stanza in found.items()} == {"libx": "Package: libx\nVersion: 1"}
    assert packages.copyright_of("libx") is None
